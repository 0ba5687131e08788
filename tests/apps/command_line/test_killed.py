"""Killed at any call that changes a file, and at any time: the same command goes on.

A part of what ``make faults`` does; in a process of its own, from which forks are safe.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parents[3]
EVERY = ("--every", "10", "--kills", "3")


@pytest.mark.parametrize(
    ("names", "of_the_program"), [(("predict", "prepare"), 1), (("operations",), 0)]
)
def test_what_was_killed_goes_on_to_the_same_bytes(names: tuple[str, ...], of_the_program: int):
    words = (*EVERY, "--command-line", str(of_the_program), "--only", *names)
    program = [sys.executable, "-m", "tests.faults", "kills", *words]
    ended = subprocess.run(program, cwd=HOUSE, capture_output=True, text=True, check=False)
    if ended.returncode == 2:
        pytest.skip(ended.stdout.strip())
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = re.findall(r"(\w+): (\d+) exits, \d+ rows of kills, (\d) kills of the", ended.stdout)
    of_program = [of_the_program, *(0 for _ in names[1:])]
    assert [(name, int(count)) for name, _, count in told] == list(
        zip(names, of_program, strict=True)
    )
    assert all(int(exits) > 25 for _, exits, _ in told)
