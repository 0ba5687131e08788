"""One kind of input: what is laid down, which command meets it, and what that makes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

SLIDES = (
    "prepare in --domain pathology --layout slides --out store --tile-mpp 0.5 --size-px 32 "
    "--workers 0"
)
SETS = "prepare in --domain pathology --out store --mpp 1 --tile-mpp 1 --size-px 16 --workers 0"
FILMS = "prepare in --domain surgery --out store --size-px 32 --workers 0"
Lay = Callable[[Path], None]


@dataclass(frozen=True)
class Case:
    """A kind of input.

    Attributes:
        title: what it is.
        used: what is made of it, one sentence.
        lay: writes it into a folder.
        command: the command line behind ``histoscope``; ``in`` is the input.
        more: words behind those that many cases share.
        way: what one may add, so that what was refused is taken; None where nothing was.
    """

    title: str
    used: str
    lay: Lay
    command: str
    more: str = ""
    way: str | None = None

    @property
    def words(self) -> list[str]:
        """The command line behind ``histoscope``."""
        return [*self.command.split(), *self.more.split()]


@dataclass(frozen=True)
class Chapter:
    """Kinds of input that belong together."""

    title: str
    cases: Sequence[Case]
