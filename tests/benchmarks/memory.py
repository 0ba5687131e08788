"""Peak memory of this process, and of another with all that it starts."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

EVERY_S = 0.1


def peak_mib() -> float:
    """Peak resident memory of this process alone (getrusage begins with the parent's)."""
    return _status("self").get("VmHWM", float("nan")) / 1024


@dataclass(frozen=True)
class Watched:
    """What a command took.

    Attributes:
        seconds: from start to end.
        tree_mib: most that all its processes held at one moment; what they share counts for each.
        peaks_mib: peak of each process, the largest first.
        said: what it wrote to stdout.
    """

    seconds: float
    tree_mib: float
    peaks_mib: Sequence[float]
    said: str


def watch(words: Sequence[str], log: Path, fine: Sequence[int] = (0,)) -> Watched:
    """Run a command, look at its processes ten times a second, and wait for its end.

    Args:
        words: the command.
        log: file for what it writes to stderr.
        fine: exit codes that are none of a failure.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    began, most, peaks = time.perf_counter(), 0.0, dict[int, float]()
    with log.open("w", encoding="utf-8") as talk:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=talk, text=True)
        while process.poll() is None:
            told = {pid: _status(str(pid)) for pid in _tree(process.pid)}
            most = max(most, sum(one.get("VmRSS", 0.0) for one in told.values()))
            for pid, one in told.items():
                peaks[pid] = max(peaks.get(pid, 0.0), one.get("VmHWM", 0.0))
            time.sleep(EVERY_S)
        seconds = time.perf_counter() - began
        assert process.stdout is not None
        said = process.stdout.read()
    if process.returncode not in fine:
        raise subprocess.CalledProcessError(process.returncode, words, said)
    ordered = sorted((one / 1024 for one in peaks.values()), reverse=True)
    return Watched(seconds, most / 1024, ordered, said)


def _tree(pid: int) -> list[int]:
    """A process and all that it started, as far as they still run."""
    found = [pid]
    for one in found:
        try:
            text = Path(f"/proc/{one}/task/{one}/children").read_text(encoding="ascii")
        except OSError:
            continue
        found += map(int, text.split())
    return found


def _status(pid: str) -> dict[str, float]:
    """Numbers of a process by name, kB; none where it has ended."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return {}
    return {name: float(value) for name, value in re.findall(r"(\w+):\s+(\d+) kB", text)}
