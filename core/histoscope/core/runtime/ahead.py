"""Read ahead: the next items are made in a thread while the last one is worked on."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from queue import Queue
from typing import TypeVar

T = TypeVar("T")
_END = object()


def read_ahead(items: Iterator[T], depth: int = 8) -> Generator[T, None, None]:
    """The same items in the same order, up to ``depth`` of them made beforehand.

    Pays where making and using let go of the interpreter's lock, as decoders, encoders and networks
    do. An exception of ``items`` is raised in its place. Where the user stops early, so does the
    thread.

    Args:
        items: used by one thread at a time, but not the one that calls this.
        depth: bounds the memory.
    """
    waiting: Queue[tuple[object, BaseException | None]] = Queue(depth)
    stop = threading.Event()

    def work() -> None:
        fault: BaseException | None = None
        try:
            for item in items:
                waiting.put((item, None))
                if stop.is_set():
                    return
        except BaseException as raised:
            fault = raised
        waiting.put((_END, fault))

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, fault = waiting.get()
            if fault is not None:
                raise fault
            if item is _END:
                return
            yield item  # type: ignore[misc]
    finally:
        stop.set()
        while thread.is_alive():
            while not waiting.empty():
                waiting.get_nowait()
            thread.join(0.01)
