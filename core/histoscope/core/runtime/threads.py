"""How many threads and processes; what is chosen is said."""

from __future__ import annotations

import os

from histoscope.core.progress import Progress


def ranks() -> tuple[int, int]:
    """Processes that share this training, in all and on this machine, as torchrun says."""
    return int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def is_main() -> bool:
    """Whether this is the process that writes and speaks."""
    return int(os.environ.get("RANK", 0)) == 0


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_workers(asked: int | None) -> int:
    """Half the cores, at most 8; none on up to 4 cores; shared by the processes of the machine.

    There a second process costs more time than it saves: 1.45 s a step without, 2.4 s with one
    worker (ResNet-18, 64 px, batch 128, 2 cores).
    """
    if asked is not None:
        return asked
    return min(8, cores() // 2) // ranks()[1] if cores() > 4 else 0


def choose_threads(asked: int | None) -> int:
    """All cores but those of the workers by default, whatever workers are asked for.

    The number of threads decides the last bits of a sum, the number of workers must not.
    """
    return asked or max(1, cores() // ranks()[1] - choose_workers(None))


def warn_of_crowding(threads: int, workers: int, progress: Progress) -> None:
    """Say so when threads and workers exceed the cores."""
    if (threads + workers) * ranks()[1] > cores():
        progress.say(
            f"{threads} threads and {workers} workers on {cores()} cores: expect it to be slow"
        )
