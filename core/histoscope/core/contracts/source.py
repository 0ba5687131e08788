"""What is opened, where it lies, and how samples are cut from it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from histoscope.core.config import Spec

Scalar = str | int | float | bool | None
Split = Literal["train", "valid", "test"]


@dataclass(frozen=True)
class Unused:
    """Something that the user gave and that is not used.

    Attributes:
        kind: what such things are, in the plural: ``rows of mpp.csv``.
        name: of this one.
        reason: why it is not used.
    """

    kind: str
    name: str
    reason: str


@dataclass(frozen=True)
class Source:
    """One thing to open.

    Attributes:
        id: opaque and stable, 16 hex digits; never a file name.
        path: POSIX path relative to the root; ``"."`` when the root itself is the source.
        root: name of the root; ``--root NAME=PATH`` says where it lies on this machine.
        kind: how to open it, a word of the domain's.
        case: patient or operation, None when unknown. Where cases differ inside the source,
            the plan's rows carry them.
        split: published or given split of the whole source, None when there is none.
        note: what the user should know about how it was found, empty when nothing.
        refused: why it cannot be opened, where that was known when it was found; empty elsewhere.
        independent: its samples are images cut by somebody else, not parts of one thing: where
            cases are unknown, the sample and not the source is the unit.
        given: digest of what the user told of it in other files (labels, scale, drawings), empty
            where nothing was: when it changes, the source is read again.
        told: what the user told of it and how it shall be read, resolved by the domain's ``find``
            for its ``open``; it travels to the processes that read, and is never written.
    """

    id: str
    path: str
    root: str = "input"
    kind: str = ""
    case: str | None = None
    split: Split | None = None
    note: str = ""
    refused: str = ""
    independent: bool = False
    given: str = ""
    told: Any = field(default=None, compare=False, repr=False)

    def as_before(self, before: Source) -> bool:
        """Whether work that was done on ``before`` stands for this source, too."""
        return all(
            getattr(self, name) == getattr(before, name)
            for name in ("id", "kind", "case", "split", "given")
        )


Roots = Mapping[str, Path]


def locate(source: Source, roots: Roots) -> Path:
    """Where a source lies on this machine. A root that is a file stands for its folder."""
    base = roots[source.root]
    folder = base.parent if base.is_file() else base
    return folder if source.path == "." else folder / source.path


class Sampling(Spec):
    """How samples are cut: what a store, an encoder and a package must agree on.

    Attributes:
        size_px: side of an image.
        alike: fields that a store must share with an encoder beside scale and size.
        added: fields that older programs did not know; at their defaults nothing is another for it.
    """

    size_px: int

    alike: ClassVar[tuple[str, ...]] = ()
    added: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def scale(self) -> Mapping[str, float]:
        """Physical scale, for example ``{"mpp": 0.5}``; compared with 1 % tolerance."""
