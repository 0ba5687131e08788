"""Which device, how many threads; what is chosen is said."""

from __future__ import annotations

import os

import torch

from histoscope.core.errors import UsageError
from histoscope.core.progress import Progress


def choose_device(word: str) -> torch.device:
    """``auto`` takes a CUDA device where torch can use one, else the CPU.

    Raises:
        UsageError: neither a CPU nor a CUDA device, or one that cannot be used; nothing falls to
            the CPU.
    """
    if word == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if word.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"--device {word}: torch finds no usable GPU; see 'histoscope doctor'")
    try:
        device = torch.device(word)
    except RuntimeError:
        device = None
    if device is None or device.type not in {"cpu", "cuda"}:
        raise UsageError(f"--device {word}: unknown; give auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"--device {word}: torch finds {torch.cuda.device_count()} GPU, counted from cuda:0"
        )
    return device


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_workers(asked: int | None) -> int:
    """Half the cores, at most 8; none on up to 4 cores.

    There a second process costs more time than it saves: 1.45 s a step without, 2.4 s with one
    worker (ResNet-18, 64 px, batch 128, 2 cores).
    """
    if asked is not None:
        return asked
    return min(8, cores() // 2) if cores() > 4 else 0


def set_threads(asked: int | None, workers: int, progress: Progress) -> int:
    """Set torch's threads and say so when workers and threads exceed the cores."""
    threads = asked or max(1, cores() - workers)
    torch.set_num_threads(threads)
    if threads + workers > cores():
        progress.say(
            f"{threads} threads and {workers} workers on {cores()} cores: expect it to be slow"
        )
    return threads
