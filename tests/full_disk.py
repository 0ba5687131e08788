"""A disk on which one kind of file finds no room: the true writers meet it, C, Rust and Python."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from histoscope.core.files import whole_name

ROOM_BYTES = 10  # that a file may still take: it is begun, and cut


@contextmanager
def no_room(room: int = ROOM_BYTES) -> Iterator[None]:
    """Let no file grow beyond ``room`` bytes, in this process and those it starts."""
    resource = pytest.importorskip("resource")  # not on Windows
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))  # Python ignores the signal
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def no_room_for(pattern: str) -> Iterator[None]:
    """As :func:`no_room` from the moment on at which a file of such a name is begun."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    touch, opened = Path.touch, Path.open

    def begun(path: Path) -> None:
        if fnmatch(whole_name(path), pattern):
            resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM_BYTES, before[1]))

    def touching(path: Path, *words: Any, **more: Any) -> None:
        touch(path, *words, **more)
        begun(path)

    def opening(path: Path, mode: str = "r", *words: Any, **more: Any) -> Any:
        if mode == "a":
            begun(path)
        return opened(path, mode, *words, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "touch", touching)
        patch.setattr(Path, "open", opening)
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
