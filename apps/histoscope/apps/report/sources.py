"""The sources of a result folder, each as the page shows it."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from histoscope.apps.report.page import count, share
from histoscope.apps.report.pictures import embed
from histoscope.apps.report.suspects import gallery
from histoscope.core.contracts import Column
from histoscope.core.work.outcome import Outcome

PICTURES_BYTES = 300_000  # of one source, before base64
PAGE_BYTES = 24_000_000  # of all sources
LEAST_BYTES = 20_000
GALLERY = 4  # of the bytes of a picture, one of those that show suspicious samples has a part
TABLE_ROWS = 50
WITHOUT = Column("without", "share", "expected without it")
CELLS: Mapping[str, Callable[[str], str]] = {
    "text": str,
    "count": lambda text: count(int(text)),
    "number": lambda text: f"{float(text):.4g}",
    "share": lambda text: share(float(text)),
}


def view_source(
    results: Path,
    outcome: Outcome,
    pictures_bytes: int,
    false_calls: Mapping[str, Mapping[str, str]],
    base: str = "",
) -> dict[str, Any]:
    """One source as the page shows it: what is known of it and of its outcome, by their names.

    Where it is done, also what its folder below ``results`` holds: ``answers``, the counts of each
    task, with ``in_words`` and ``colours`` of all classes; ``of_source``, what is said of it as a
    whole; ``facts``, name to text; ``pictures`` and ``tables`` drawn by the domain; ``files``, all
    of them, relative to the page; ``suspicious``, what is shown of a class that was looked for, or
    None. No bytes for pictures: neither these nor tables nor files.

    Args:
        results: the folder that holds those of sources.
        outcome: of the source.
        pictures_bytes: what its pictures may take, before base64.
        false_calls: by task and class, what part of a source without the class is called it.
        base: what leads from the page to the source's folder, empty or with a slash at its end.
    """
    source, done = outcome.source, outcome.more
    view = vars(source) | vars(outcome) | {"page": "", "suspicious": None}
    if outcome.status != "done":
        return view
    folder = results / source.id
    # what a file names is opened only if it lies in this folder
    artefacts = [a for a in done["artefacts"] if a["file"] == Path(a["file"]).name]
    drawn = [a for a in artefacts if a["kind"] == "picture"]
    each = max(1, pictures_bytes // max(1, len(drawn)))
    if not pictures_bytes:
        artefacts, drawn = [], []
    tables = [_table(folder, a, false_calls) for a in artefacts if a["kind"] == "table"]
    suspects = done.get("suspicious")
    if suspects and pictures_bytes:
        suspects = gallery(folder, base, suspects, max(LEAST_BYTES, each // GALLERY))
    answers = [_counts(answer, outcome.samples) for answer in done["answers"]]
    whole = [{**one, "in_words": _held(one)} for one in done.get("of_source", ())]
    words = "; ".join(f"{one['task']}: {one['in_words']}" for one in answers)
    return view | {
        "answers": answers,
        "of_source": whole,
        "in_words": answers[0]["in_words"] if len(answers) == 1 else words,
        "colours": {one["name"]: one["colour"] for a in answers for one in a["classes"]},
        "suspicious": suspects,
        "facts": done["shown"],
        "pictures": [{**a, "embedded": embed(folder / a["file"], each)} for a in drawn],
        "tables": [table for table in tables if table is not None],
        "files": [
            f"{base}{name}"
            for name in (
                "predictions.csv",
                *(a["file"] for a in artefacts),
                *(["suspicious.csv"] if suspects else []),
            )
        ],
    }


def bytes_for(sources: int) -> int:
    """How much the pictures of one source may take in a page of so many."""
    return max(LEAST_BYTES, min(PICTURES_BYTES, PAGE_BYTES // max(1, sources)))


def _counts(answer: Mapping[str, Any], samples: int) -> dict[str, Any]:
    """What one task's classes were given: ``part`` of those read, ``start`` where its bar begins.

    ``in_words``, the classes that occur, largest first, is for those who do not see the bar.
    """
    classes, start = list[dict[str, Any]](), 0.0
    for one in answer["classes"]:
        part = one["samples"] / max(1, samples)
        classes.append({**one, "part": part, "start": start})
        start += part
    found = sorted((one for one in classes if one["samples"]), key=lambda one: -one["part"])
    words = ", ".join(f"{one['name']} {share(one['part'])}" for one in found) or "none"
    return {**answer, "classes": classes, "in_words": words}


def _held(answer: Mapping[str, Any]) -> str:
    """The classes that hold of a source as a whole, with their scores."""
    if answer.get("uncertain"):
        best = max(answer["classes"], key=lambda one: one["probability"])
        return f"uncertain (best: {best['name']}, score {best['probability']:.2f})"
    held = [one for one in answer["classes"] if one["holds"]]
    return ", ".join(f"{one['name']} (score {one['probability']:.2f})" for one in held) or "none"


def _table(
    folder: Path, artefact: Mapping[str, Any], false_calls: Mapping[str, Mapping[str, str]]
) -> dict[str, Any] | None:
    """The first rows of a CSV file; None when it cannot be read.

    Of classes each has beside it what a source without it would show.
    """
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
    if wrong := false_calls.get(artefact.get("task", "")):
        columns.append(WITHOUT)
        cells = [[*row, wrong.get(row[0], "")] for row in cells]
    more = len(rows) - len(cells)
    return {
        "task": "",
        **artefact,
        "columns": columns,
        "rows": cells,
        "more": more,
        "wrong": bool(wrong),
    }


def _cell(column: Column, text: str) -> str:
    """A cell for a person; as it is where there is nothing, or not what its column says."""
    try:
        return CELLS[column.kind](text)
    except ValueError:
        return text
