"""One call at a time in a folder that is written line by line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from histoscope.core.errors import UsageError, writing

if sys.platform != "win32":
    import fcntl

_held: set[int] = set()


def _let_go() -> None:
    """A worker holds nothing: it may outlive a call that was killed."""
    for handle in _held:
        os.close(handle)
    _held.clear()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_let_go)


@contextmanager
def alone(folder: Path, instead: str = ", or give another --out") -> Iterator[bool]:
    """Hold a folder, which is made if need be, until the block or the process ends.

    Yields whether it is held.

    Args:
        folder: where only one call may write.
        instead: what a second call may do but wait.

    Where the system or the file system knows no locks of folders (Windows, some of networks),
    nothing is held.

    Raises:
        UsageError: another call holds it.
        CannotWrite: it cannot be made.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if sys.platform == "win32":
        yield False
        return
    with writing(folder):
        handle = os.open(folder, os.O_RDONLY)
    _held.add(handle)
    try:
        yield _lock(handle, folder, instead)
    finally:
        if handle in _held:  # not in a worker that leaves the block
            _held.remove(handle)
            os.close(handle)


def _lock(handle: int, folder: Path, instead: str) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        message = "another call is writing here; wait until it has ended"
        raise UsageError(f"{folder}: {message}{instead}") from None
    except OSError:
        return False
    return True
