"""Freed memory is kept for the next tensor instead of going back to the system at once."""

from __future__ import annotations

import ctypes
import os
import sys

KEPT = {  # parameter of mallopt(3): as a variable for processes started later, number, bytes
    "MALLOC_MMAP_THRESHOLD_": (-3, 256 << 20),  # a block below this is kept when freed
    "MALLOC_TRIM_THRESHOLD_": (-1, (1 << 31) - 1),  # this much at the end free, and it goes back
}


def keep_freed_memory() -> bool:
    """Have the C library reuse large blocks, in this process and those it will start.

    By itself glibc maps every block over 32 MiB anew, and the system clears it page by page: a
    third of the time of a ResNet on a CPU (docs/decisions/0010). Variables that the user has set
    stand.

    Returns:
        Whether the C library took it; False where it is not glibc.
    """
    if not _is_glibc():
        return False
    taken = True
    for variable, (number, size) in KEPT.items():
        if variable not in os.environ:
            os.environ[variable] = str(size)
            taken = bool(ctypes.CDLL(None).mallopt(number, size)) and taken
    return taken


def give_back_freed_memory() -> None:
    """Return what is free to the system, between two sources: the last may have needed much."""
    if _is_glibc():
        ctypes.CDLL(None).malloc_trim(0)


def _is_glibc() -> bool:
    return sys.platform == "linux" and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")
