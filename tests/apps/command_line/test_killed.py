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
PART = ("--every", "10", "--kills", "3", "--command-line", "1", "--only", "predict", "prepare")


def test_what_was_killed_goes_on_to_the_same_bytes():
    program = [sys.executable, "-m", "tests.faults", "kills", *PART]
    ended = subprocess.run(program, cwd=HOUSE, capture_output=True, text=True, check=False)
    if ended.returncode == 2:
        pytest.skip(ended.stdout.strip())
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = re.findall(r"(\w+): (\d+) exits, \d+ rows of kills, (\d) kills of the", ended.stdout)
    assert [(name, of_program) for name, _, of_program in told] == [
        ("predict", "1"),
        ("prepare", "0"),
    ]
    assert all(int(exits) > 25 for _, exits, _ in told)
