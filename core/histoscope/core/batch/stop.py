"""Interruption as a flag that is read between two steps, so that nothing is half done."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any, Self

from histoscope.core.errors import Interrupted


class StopFlag:
    """While entered, SIGINT and SIGTERM only set a flag; a second signal acts as usual."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, place: FrameType | None) -> None:
        self.asked = True
        for signal_number, handler in self._before.items():
            signal.signal(signal_number, handler)

    def check(self, done: str) -> None:
        """Raise :class:`Interrupted` when a signal came; ``done`` says what is safe."""
        if self.asked:
            raise Interrupted(f"interrupted; {done}; the same command goes on")
