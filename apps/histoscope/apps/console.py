"""What a person sees while work goes on: a bar on a terminal, plain lines in a file."""

from __future__ import annotations

import sys
import time
from typing import Any

EVERY_S = 30.0


class Console:
    """Talk goes to stderr; results go to stdout elsewhere."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._what, self._unit = "", ""
        self._total = self._done = 0
        self._began = self._told = 0.0

    def start(self, what: str, total: int, unit: str) -> None:
        """Begin a piece of work."""
        self._what, self._unit, self._total, self._done = what, unit, total, 0
        self._began = self._told = time.monotonic()
        if not sys.stderr.isatty():
            if total:
                self.say(f"{what}: {total} {unit}")
            return
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeRemainingColumn as Left

        rate = TextColumn("{task.fields[rate]}")
        self._bar = Progress(
            TextColumn("{task.description}"),
            *(BarColumn(), MofNCompleteColumn(), rate, Left()),
            console=RichConsole(stderr=True),
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task(self._what, total=self._total or None, rate="")

    def advance(self, count: int = 1) -> None:
        """More is done."""
        self._done += count
        now = time.monotonic()
        rate = self._done / max(now - self._began, 1e-9)
        if self._bar:
            self._bar.update(self._task, advance=count, rate=f"{rate:.3g} {self._unit}/s")
        elif now - self._told >= EVERY_S:
            self._told = now
            left = (self._total - self._done) / rate
            self.say(
                f"{self._what}: {self._done} of {self._total} {self._unit}, "
                f"{rate:.3g} {self._unit}/s, {left:.0f} s left"
            )

    def finish(self) -> None:
        """The work is over."""
        if self._bar:
            self._bar.stop()
            self._bar = None

    def say(self, line: str) -> None:
        """One line on stderr."""
        if self._bar:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()
