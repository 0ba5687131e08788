"""The sources of a result folder, each as the page shows it."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from histoscope.apps.report.page import count, share
from histoscope.apps.report.pictures import Embedded, embed
from histoscope.core.contracts import Column
from histoscope.core.work.outcome import Outcome

PICTURES_BYTES = 150_000  # of one source, before base64
PAGE_BYTES = 24_000_000  # of all sources
LEAST_BYTES = 20_000
TABLE_ROWS = 50
CELLS: Mapping[str, Callable[[str], str]] = {
    "text": str,
    "count": lambda text: count(int(text)),
    "number": lambda text: f"{float(text):.4g}",
    "share": lambda text: share(float(text)),
}


@dataclass(frozen=True)
class ClassCount:
    """Samples of one class: ``part`` of those read, from 0 to 1, ``start`` where its bar begins."""

    name: str
    colour: str
    samples: int
    part: float
    start: float


@dataclass(frozen=True)
class TaskCounts:
    """What one task's classes were given; of exclusive classes the parts make a whole."""

    task: str
    exclusive: bool
    classes: list[ClassCount]

    @property
    def in_words(self) -> str:
        """The classes that occur, largest first, for those who do not see the bar."""
        found = sorted((one for one in self.classes if one.samples), key=lambda one: -one.part)
        return ", ".join(f"{one.name} {share(one.part)}" for one in found) or "none"


@dataclass(frozen=True)
class Picture:
    """A picture of a source; ``embedded`` is None when the file is missing or broken."""

    file: str
    title: str
    caption: str
    embedded: Embedded | None


@dataclass(frozen=True)
class Table:
    """A small table: its columns, and its cells as text."""

    file: str
    title: str
    caption: str
    columns: list[Column]
    rows: list[list[str]]
    more: int


@dataclass(frozen=True)
class SourceView:
    """One source.

    Attributes:
        id, path, root, case, note: of the source.
        status: ``done``, ``empty`` or ``failed``.
        samples, corrupt: how many were read, how many could not be.
        reason: why not, or what was left out.
        answers: counts of each task, empty unless done.
        facts: name to text.
        pictures, tables: drawn by the domain.
        files: all its files, relative to the report.
    """

    id: str
    path: str
    root: str
    case: str | None
    note: str
    status: str
    samples: int
    corrupt: int
    reason: str
    answers: list[TaskCounts] = field(default_factory=list)
    facts: Mapping[str, str] = field(default_factory=dict)
    pictures: list[Picture] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    @property
    def in_words(self) -> str:
        """All tasks' classes in words."""
        if len(self.answers) == 1:
            return self.answers[0].in_words
        return "; ".join(f"{one.task}: {one.in_words}" for one in self.answers)

    @property
    def colours(self) -> dict[str, str]:
        """Class name to colour, of the tasks whose classes are drawn."""
        return {one.name: one.colour for answer in self.answers for one in answer.classes}


def view_source(results: Path, outcome: Outcome, pictures_bytes: int) -> SourceView:
    """What a source's folder below ``results`` holds."""
    source = outcome.source
    view = SourceView(
        id=source.id,
        path=source.path,
        root=source.root,
        case=source.case,
        note=source.note,
        status=outcome.status,
        samples=outcome.samples,
        corrupt=outcome.corrupt,
        reason=outcome.reason,
    )
    if outcome.status != "done":
        return view
    folder, done = results / source.id, outcome.more
    # what a file names is opened only if it lies in this folder
    artefacts = [a for a in done["artefacts"] if a["file"] == Path(a["file"]).name]
    drawn = [a for a in artefacts if a["kind"] == "picture"]
    each = max(1, pictures_bytes // max(1, len(drawn)))
    tables = [_table(folder, a) for a in artefacts if a["kind"] == "table"]
    names = ["predictions.csv", *(a["file"] for a in artefacts)]
    return replace(
        view,
        answers=[
            TaskCounts(one["task"], one["exclusive"], _counts(one, outcome.samples))
            for one in done["answers"]
        ],
        facts=done["shown"],
        pictures=[
            Picture(a["file"], a["title"], a["caption"], embed(folder / a["file"], each))
            for a in drawn
        ],
        tables=[table for table in tables if table is not None],
        files=[f"results/{source.id}/{name}" for name in names],
    )


def bytes_for(sources: int) -> int:
    """How much the pictures of one source may take in a page of so many."""
    return max(LEAST_BYTES, min(PICTURES_BYTES, PAGE_BYTES // max(1, sources)))


def _counts(answer: Mapping[str, Any], samples: int) -> list[ClassCount]:
    out, start = list[ClassCount](), 0.0
    for one in answer["classes"]:
        part = one["samples"] / max(1, samples)
        out.append(ClassCount(one["name"], one["colour"], one["samples"], part, start))
        start += part
    return out


def _table(folder: Path, artefact: Mapping[str, Any]) -> Table | None:
    """The first rows of a CSV file; None when it cannot be read."""
    known = {one["name"]: Column(**one) for one in artefact.get("columns", ())}
    try:
        with (folder / artefact["file"]).open(encoding="utf-8", newline="") as handle:
            names, *rows = csv.reader(handle)
        columns = [known.get(name) or Column(name) for name in names]
        cells = [
            [_cell(column, text) for column, text in zip(columns, row, strict=True)]
            for row in rows[:TABLE_ROWS]
        ]
    except (OSError, ValueError, csv.Error):
        return None
    return Table(
        artefact["file"],
        artefact["title"],
        artefact["caption"],
        columns,
        cells,
        len(rows) - len(cells),
    )


def _cell(column: Column, text: str) -> str:
    """A cell for a person; as it is where there is nothing, or not what its column says."""
    try:
        return CELLS[column.kind](text)
    except ValueError:
        return text
