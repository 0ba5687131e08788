"""Freed memory is reused: counted in page faults of processes of their own."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys

LETTER = bytes(sys.argv[0], "utf-8")[:1]  # a product that no compiler folds

if "keep" in sys.argv:
    from histoscope.core.runtime.allocator import keep_freed_memory

    assert keep_freed_memory()
if "child" in sys.argv:
    import os, subprocess

    sys.exit(subprocess.run([sys.executable, "-c", os.environ["FAULTS"]]).returncode)
for _ in range(20):  # until the heap has found its shape
    LETTER * 48_000_000
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    LETTER * 48_000_000  # over the 32 MiB that glibc keeps by itself
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 10 * 48_000_000 // mmap.PAGESIZE  # what ten such blocks touch

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"),
    reason="the C library is not glibc",
)


def faults(*words: str, **variables: str) -> int:
    """Page faults of ten blocks of 48 MB, one after another."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, *words],
        check=True,
        capture_output=True,
        text=True,
        env={**clean, **variables, "FAULTS": FAULTS},
    )
    return int(done.stdout)


def test_a_freed_block_is_used_again_in_this_process_and_in_its_children() -> None:
    assert faults() > 0.9 * PAGES  # what is mended
    assert faults("keep") < 0.01 * PAGES
    assert faults("keep", "child") < 0.01 * PAGES


def test_what_the_user_has_set_stands() -> None:
    given = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    assert faults("keep", **given) > 0.9 * PAGES


HELD = """
import sys
from pathlib import Path
from histoscope.core.runtime.allocator import give_back_freed_memory, keep_freed_memory


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])


assert keep_freed_memory()
before = resident()
blocks = [bytes(sys.argv[0], "utf-8")[:1] * 48_000_000 for _ in range(4)]
wall = bytearray(100_000)
del blocks
held = resident() - before
give_back_freed_memory()
print(held, resident() - before)
"""


def test_between_two_sources_nothing_free_is_held() -> None:
    done = subprocess.run([sys.executable, "-c", HELD], check=True, capture_output=True, text=True)
    held, after = (int(word) * mmap.PAGESIZE for word in done.stdout.split())
    assert held > 150e6
    assert after < 20e6
