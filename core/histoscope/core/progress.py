"""How long work tells where it is. The core reports; apps choose what a person sees."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Protocol

from histoscope.core.errors import writing


class Progress(Protocol):
    """One piece of long work at a time."""

    def start(self, what: str, total: int, unit: str) -> None:
        """Begin ``what``: ``total`` units are expected, 0 when unknown."""

    def advance(self, count: int = 1) -> None:
        """``count`` more units are done."""

    def finish(self) -> None:
        """The work begun last is over."""

    def say(self, line: str) -> None:
        """One line that the user should read: what was chosen, skipped or refused."""


class Silent:
    """Reports to nobody."""

    def start(self, what: str, total: int, unit: str) -> None:
        """Nothing."""

    def advance(self, count: int = 1) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""

    def say(self, line: str) -> None:
        """Nothing."""


class Logged:
    """Passes everything on, and keeps what is said and when work began and ended in a file.

    Args:
        progress: who is told as well.
        path: appended to, one line each, with the local time.
    """

    def __init__(self, progress: Progress, path: Path) -> None:
        self._progress, self._path = progress, path
        self._what, self._unit, self._done = "", "", 0

    def start(self, what: str, total: int, unit: str) -> None:
        """Note what begins."""
        self._what, self._unit, self._done = what, unit, 0
        self._write(f"{what}: {total} {unit}")
        self._progress.start(what, total, unit)

    def advance(self, count: int = 1) -> None:
        """Count."""
        self._done += count
        self._progress.advance(count)

    def finish(self) -> None:
        """Note what was done."""
        self._write(f"{self._what}: {self._done} {self._unit} done")
        self._progress.finish()

    def say(self, line: str) -> None:
        """Note what is said."""
        self._write(line)
        self._progress.say(line)

    def _write(self, line: str) -> None:
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        with writing(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(f"{now} {line}\n")
