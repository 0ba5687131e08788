"""The one family of errors; each class carries the exit code that the command line returns.

HistoscopeError        4   a fault of ours, unless a subclass says otherwise
├── UsageError         2   what was asked for cannot be
│   ├── ConfigError        unknown key, wrong type, out of range
│   └── DataError          empty folder, missing scale, classes differ, damaged file
├── UnreadableSource   1   one source cannot be used; in a batch it becomes a row with the reason
├── Interrupted        3   SIGINT or SIGTERM between two steps; the same command goes on
└── Diverged           5   the loss is not finite; the last good checkpoint is named

A message says where, what, and what to do: ``a.svs: no mpp in the file; give --default-mpp``.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


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


def near_word(word: str, known: Iterable[str]) -> str:
    """Return ``, did you mean 'x'?`` for the nearest known word, or an empty string."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f", did you mean {close[0]!r}?" if close else ""


def printable(text: str) -> str:
    r"""A name as it stands; of one that is not UTF-8, each stray byte as ``\udcfc``."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
