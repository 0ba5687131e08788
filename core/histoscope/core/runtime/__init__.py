"""The process: interruption, reading ahead, memory, threads, devices, several processes."""
