"""The one family of errors; each class carries the exit code that the command line returns.

HistoscopeError        4   a fault of ours, unless a subclass says otherwise
├── UsageError         2   what was asked for cannot be
│   ├── ConfigError        unknown key, wrong type, out of range
│   ├── DataError          empty folder, missing scale, classes differ, damaged file
│   └── CannotWrite        the disk is full, the folder read-only, or gone
├── UnreadableSource   1   one source cannot be used; in a batch it becomes a row with the reason
├── Interrupted        3   SIGINT or SIGTERM between two steps; the same command goes on
└── Diverged           5   the loss is not finite; the last good checkpoint is named

A message says where, what, and what to do: ``a.svs: no mpp in the file; give --default-mpp``.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
# what the machine refuses is no fault of ours: a disk that is full, read-only, broken or gone,
# rights, and names that cannot be
REFUSED = (
    *(*FULL, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENOTCONN),
    *(errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG),
)


class HistoscopeError(Exception):
    """A fault of ours, unless a subclass says otherwise."""

    exit_code = 4


class UsageError(HistoscopeError):
    """What was asked for cannot be."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration has an unknown key, a wrong type or a value out of range."""


class DataError(UsageError):
    """The data given cannot be what was asked for."""


class CannotWrite(UsageError):
    """The machine does not let a file be written, which is no source's fault.

    Args:
        where: the file, or a folder that is needed for it.
        why: in the machine's words.
    """

    def __init__(self, where: object, why: str) -> None:
        super().__init__(str(where), why)
        self.why = why

    def __str__(self) -> str:
        full = self.why in map(os.strerror, FULL)
        then = "make room" if full else "see that it can be"
        return (
            f"{self.args[0]}: cannot be written ({self.why}); {then}, and the same command goes on"
        )


class UnreadableSource(HistoscopeError):
    """One source cannot be used.

    Args:
        reason: one line, without the path: the caller knows which source it is.
    """

    exit_code = 1

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Interrupted(HistoscopeError):
    """Stopped by the user between two steps; nothing is lost."""

    exit_code = 3


class Diverged(HistoscopeError):
    """Training produced a loss that is not finite."""

    exit_code = 5


def refusal(fault: BaseException, codes: Iterable[int] = REFUSED) -> str | None:
    """What the machine refuses with one of some codes, in its words; None for another fault.

    Libraries that are not written in Python raise errors of their own with these words in them.
    """
    if isinstance(fault, OSError) and fault.errno is not None:
        return os.strerror(fault.errno) if fault.errno in codes else None
    text = str(fault)
    return next((words for words in map(os.strerror, codes) if words in text), None)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in one way what the machine refuses of a file, whatever library writes it.

    Raises:
        CannotWrite: instead of an ``OSError``, or of another error with a refusal's words in it.
    """
    try:
        yield
    except HistoscopeError:
        raise
    except Exception as fault:
        why = refusal(fault)
        if why is None and isinstance(fault, OSError):
            why = fault.strerror or str(fault)
        if why is None:
            raise
        named = getattr(fault, "filename", None)
        above = isinstance(named, str) and Path(named) in path.parents
        raise CannotWrite(named if above else path, why) from fault


def near_word(word: str, known: Iterable[str]) -> str:
    """Return ``, did you mean 'x'?`` for the nearest known word, or an empty string."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f", did you mean {close[0]!r}?" if close else ""


def printable(text: str) -> str:
    r"""A name as it stands; of one that is not UTF-8, each stray byte as ``\udcfc``."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
