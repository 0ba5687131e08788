"""Interruption as a flag that is read between two steps, so that nothing is half done."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any, Self

from histoscope.core.errors import Interrupted


@contextmanager
def deaf_children(*signals: int) -> Iterator[None]:
    """Processes started meanwhile never hear these signals (not on Windows).

    A terminal's Ctrl-C and a scheduler's SIGTERM reach all processes at once; the parent decides
    what becomes of its children. Belongs inside a :class:`StopFlag`: another thread may hear the
    signal while a child is starting, and an exception then would cut the start short.
    """
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # it starts with the first child, and unblocks signals then
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_process(target: Callable[..., None], *args: Any) -> tuple[SpawnProcess, Connection]:
    """Start ``target(pipe, *args)`` by spawn, deaf to SIGINT; it, and our end of the pipe.

    It does not outlive this process, however that ends.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_bound, args=(target, theirs, *args))
    with deaf_children(signal.SIGINT):
        process.start()
    theirs.close()
    return process, ours


def _bound(target: Callable[..., None], pipe: Connection, *args: Any) -> None:
    """The life of a process that was started."""
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    target(pipe, *args)


def _end_with_parent() -> None:
    """End at once where the parent was killed: the next call may be writing in the same folder."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


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

    def _note(self, number: int, place: object) -> None:
        self.asked = True
        for signal_number, handler in self._before.items():
            signal.signal(signal_number, handler)

    def check(self, done: str) -> None:
        """Raise :class:`Interrupted` when a signal came; ``done`` says what is safe."""
        if self.asked:
            raise Interrupted(f"interrupted; {done}; the same command goes on")
