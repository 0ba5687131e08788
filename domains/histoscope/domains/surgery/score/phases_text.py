"""What a person reads of phase scores, and the same as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from histoscope.domains.surgery.metrics.protocols import F1_OF_MEANS, Scores
from histoscope.domains.surgery.metrics.spread import Spread
from histoscope.domains.surgery.score.joining import name_of
from histoscope.domains.surgery.score.phases_run import (
    FRAME_PROTOCOLS,
    SD_OF,
    SEGMENT_PROTOCOLS,
    PhaseScores,
    undefined_cells,
)

PROTOCOLS = (*FRAME_PROTOCOLS, *SEGMENT_PROTOCOLS)
FRAME_COLUMNS = ("accuracy", "precision", "recall", "jaccard", "f1")
SEGMENT_COLUMNS = ("edit", "f1@10", "f1@25", "f1@50")
SD_OVER_RUNS = "sd over runs"


def lines(found: PhaseScores) -> Iterator[str]:
    """What was compared and by which rules, then the tables."""
    yield from _head(found)
    scores = found.scores()
    frame = {name: scores[name] for name in FRAME_PROTOCOLS}
    segment = {name: scores[name] for name in SEGMENT_PROTOCOLS}
    many = len(found.runs) > 1
    yield ""
    yield "percent; +- is " + (
        f"the sd over {len(found.runs)} runs" if many else "the sd said beside each protocol"
    )
    yield from table("protocol", frame, FRAME_COLUMNS)
    yield f"phase_first, F1 of mean P and R: {number(scores['phase_first'][F1_OF_MEANS])}"
    yield ""
    yield from table("segments", segment, SEGMENT_COLUMNS)
    yield ""
    yield from table("phase (phase_first)", found.phases(), FRAME_COLUMNS[1:])


def body(found: PhaseScores) -> dict[str, Any]:
    """The JSON: an object a protocol, the settings, the phases and, of several, each run."""
    many = len(found.runs) > 1
    runs = [
        {"predicted": name_of(run.folder), "frames": run.frames, "notes": list(run.notes)}
        | (as_json(run.scores) if many else {})
        for run in found.runs
    ]
    return {
        "unit": "percent",
        "settings": _settings(found),
        **as_json(found.scores()),
        "per_phase": as_json(found.phases()),
        "runs": runs,
    }


def as_json(groups: Mapping[str, Scores]) -> dict[str, Any]:
    """Spreads as ``{"value": x, "sd": y}``, null where undefined."""
    return {
        group: {
            name: {"value": _or_null(spread.value), "sd": _or_null(spread.sd)}
            for name, spread in scores.items()
        }
        for group, scores in groups.items()
    }


def table(title: str, groups: Mapping[str, Scores], columns: tuple[str, ...]) -> Iterator[str]:
    """One row a group, right-aligned numbers with their sd."""
    cells = [[number(scores[name]) for name in columns] for scores in groups.values()]
    first = max(len(title), *(len(group) for group in groups))
    widths = [max(len(name), *(len(row[at]) for row in cells)) for at, name in enumerate(columns)]
    for head, row in [(title, list(columns)), *zip(groups, cells, strict=True)]:
        padded = "  ".join(word.rjust(width) for word, width in zip(row, widths, strict=True))
        yield f"{head.ljust(first)}  {padded}"


def number(spread: Spread) -> str:
    """``86.94 +- 7.12``, without the sd where there is none, ``-`` where undefined."""
    if math.isnan(spread.value):
        return "-"
    return f"{spread.value:.2f}" + ("" if math.isnan(spread.sd) else f" +- {spread.sd:.2f}")


def _head(found: PhaseScores) -> Iterator[str]:
    run, rate, many = found.runs[0], found.rate, len(found.runs) > 1
    yield f"protocols: {', '.join(PROTOCOLS)}"
    ends = f"{run.videos[0]} to {run.videos[-1]}" if len(run.videos) > 1 else run.videos[0]
    yield f"videos: {len(run.videos)} ({ends})"
    frames = sorted({run.frames for run in found.runs})
    spans = f"{frames[0]}" if len(frames) == 1 else f"{frames[0]} to {frames[-1]}, by run"
    yield f"frames scored: {spans}"
    yield f"fps: {rate.fps:g} (frame numbers read as {rate.source_fps:g} a second)"
    read = f"{found.class_order}; ids read in the {found.class_order} order"
    named = "none needed; phases are named in the files"
    yield f"class order: {read if found.ids_read else named}"
    if many:
        yield f"runs: {len(found.runs)}; values are means over runs, +- is the sd over runs (n - 1)"
    yield "undefined cells:"
    said = undefined_cells(found.rules)
    for name in PROTOCOLS:
        yield f"  {name}: {said[name]}" + ("" if many else f"; {SD_OF[name]}")
    for run in found.runs:
        where = f"{run.folder}: " if many else ""
        yield from (f"{where}{note}" for note in run.notes)


def _settings(found: PhaseScores) -> dict[str, Any]:
    many = len(found.runs) > 1
    return {
        "truth": name_of(found.truth),
        "predicted": [name_of(run.folder) for run in found.runs],
        "videos": len(found.runs[0].videos),
        "video_names": list(found.runs[0].videos),
        "frames": found.runs[0].frames,
        "fps": found.rate.fps,
        "source_fps": found.rate.source_fps,
        "class_order": found.class_order,
        "ids_read_in": found.class_order if found.ids_read else None,
        "phases": list(found.classes),
        "absent": dict(found.rules),
        "undefined_cells": undefined_cells(found.rules),
        "sd": dict.fromkeys(PROTOCOLS, SD_OVER_RUNS) if many else dict(SD_OF),
    }


def _or_null(value: float) -> float | None:
    return None if math.isnan(value) else value
