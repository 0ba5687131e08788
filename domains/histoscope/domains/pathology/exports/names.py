"""Names by which CLAM and TRIDENT look up what belongs to a slide, and what is left under them."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from histoscope.core.contracts import Source
from histoscope.core.errors import UnreadableSource
from histoscope.core.tables.names import folded
from histoscope.core.work.names import fault_of_name
from histoscope.core.work.outcome import Outcome, Status
from histoscope.domains.pathology.discovery import image_number

RANK: Mapping[Status, int] = {"done": 0, "empty": 1, "failed": 2}


def name_parts(source: Source) -> tuple[str, str]:
    """Name of a slide, and the suffix of its file: ``a.ome``, ``.tif`` of ``x/a.ome.tif``.

    As both tools part them, only the last suffix goes; ``a.ome.tif#2`` is ``a.ome#2``.
    """
    number = image_number(source)
    scan = "" if number is None else f"#{number}"
    stem, suffix = posixpath.splitext(posixpath.basename(source.path.removesuffix(scan)))
    return stem + scan, suffix


def name_of(source: Source) -> str:
    """Name of a slide, that a file can have.

    Raises:
        UnreadableSource: none can.
    """
    name, _ = name_parts(source)
    if fault := fault_of_name(name):
        raise UnreadableSource(f"{fault}; rename it, or leave --layout away")
    return name


def once_a_name(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """What became of each slide, by name; of one that was replaced, what is done comes first."""
    best: dict[str, Outcome] = {}
    for one in sorted(outcomes, key=lambda one: RANK[one.status]):
        best.setdefault(folded(name_parts(one.source)[0]), one)
    return [best[name] for name in sorted(best)]


def remove_others(
    folder: Path, suffix: str, slides: Sequence[Outcome], kept: Collection[Status]
) -> None:
    """Remove from a folder of all slides what a crash left, and what no slide has any more.

    Args:
        folder: of files ``NAME`` and suffix.
        suffix: with its dot.
        slides: each name once.
        kept: what became of those that have a file.
    """
    for path in folder.glob(f"*{suffix}.[0-9]*.part"):
        path.unlink()
    for name, status in ((name_parts(one.source)[0], one.status) for one in slides):
        if status not in kept and not fault_of_name(name):
            (folder / f"{name}{suffix}").unlink(missing_ok=True)
