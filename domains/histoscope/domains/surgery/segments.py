"""Segments of an operation: runs of one class, as a file that a person edits and gives back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histoscope.core.contracts import UNCERTAIN, Answer, OwnLabels
from histoscope.core.data.named import NamedSources
from histoscope.core.errors import DataError
from histoscope.core.files import read_json, write_json
from histoscope.domains.surgery.labels import PHASE, Span, in_order
from histoscope.domains.surgery.marks import runs
from histoscope.domains.surgery.phase_text import seconds_of
from histoscope.domains.surgery.timeline import NEAR
from histoscope.domains.surgery.video_files import NAMING

SEGMENTS = ("histoscope.segments", 1)


@dataclass(frozen=True)
class Segment:
    """A run of one class.

    Attributes:
        start_s, end_s: from the first frame, s; the next segment may begin where it ends.
        kind: the class, or ``uncertain``.
        confidence: mean score of the class over its frames, of ``uncertain`` of the best; 0 to 1.
        row: of its first frame.
        colour: ``#rrggbb`` of the class.
    """

    start_s: float
    end_s: float
    kind: str
    confidence: float
    row: int
    colour: str


@dataclass(frozen=True)
class SegmentFile:
    """What a file says.

    Attributes:
        path: the file.
        source: id of the operation.
        operation: what label files call it.
        task: what was asked.
        classes: those of the task in order, then those that were added by hand.
        spans: in order of time; what is uncertain is left out.
    """

    path: Path
    source: str
    operation: str
    task: str
    classes: tuple[str, ...]
    spans: Sequence[Span]

    def kinds_at(self, times_s: NDArray[np.float64]) -> list[str | None]:
        """The class at each moment, None between segments."""
        starts = np.array([span.start_s for span in self.spans])
        places = np.searchsorted(starts, times_s, side="right") - 1
        found = [
            self.spans[place] if place >= 0 else None
            for place in (places.tolist() if len(starts) else [-1] * len(times_s))
        ]
        return [
            span.phase if span and time < span.end_s else None
            for span, time in zip(found, times_s.tolist(), strict=True)
        ]


def segments_of(answer: Answer, times_s: NDArray[np.float64], step_s: float) -> list[Segment]:
    """Runs of one class in order of time.

    A run ends where the next sampled frame has another class or could not be read, and a step after
    its last frame where the next one is further than one and a half steps away.

    Args:
        answer: of exclusive classes.
        times_s: of its rows, increasing.
        step_s: how long one row stands for.
    """
    chosen, out = answer.chosen(), list[Segment]()
    scores = np.nan_to_num(answer.probabilities.astype(np.float64))
    scores = np.column_stack([scores, scores.max(axis=1)])  # the last is of what is uncertain
    far = np.append(np.diff(times_s) > NEAR * step_s, True)  # behind each row
    ends_s = np.where(far, times_s + step_s, np.append(times_s[1:], 0.0))
    for place, kind in enumerate(answer.kinds):
        for begin, end in runs(chosen[:, place]):
            cuts = np.flatnonzero(far[begin : end - 1]) + begin + 1
            for first, last in pairwise([begin, *cuts.tolist(), end]):
                mean = round(float(scores[first:last, place].mean()), 6)
                start_s, end_s = float(times_s[first]), round(float(ends_s[last - 1]), 6)
                colour = answer.kind_colours[place]
                out.append(Segment(start_s, end_s, kind, mean, first, colour))
    return sorted(out, key=lambda one: one.start_s)


def write_segments(
    path: Path, source: str, operation: str, answer: Answer, segments: Sequence[Segment]
) -> None:
    """Write them as JSON, for a person to edit. See :func:`read_segments`."""
    body = {
        "source": source,
        "operation": operation,
        "task": answer.task.name,
        "classes": list(answer.task.classes),
        "segments": [
            {
                "start_s": one.start_s,
                "end_s": one.end_s,
                "class": one.kind,
                "confidence": one.confidence,
            }
            for one in segments
        ],
    }
    write_json(path, *SEGMENTS, body)


def read_segments(path: Path) -> SegmentFile:
    """Read such a file, as it was written or edited.

    Times are seconds or H:MM:SS; ``confidence`` is not read; a class that is null or ``uncertain``
    says nothing.

    Raises:
        DataError: not such a file, or two segments overlap.
    """
    body = read_json(path, *SEGMENTS)
    told = {name: body.get(name) for name in ("source", "operation", "task")}
    for name, value in told.items():
        if not isinstance(value, str) or not value:
            raise DataError(f"{path}: {name} should be a text; leave it as predict wrote it")
    names, rows = body.get("classes"), body.get("segments")
    if not isinstance(names, list) or not all(isinstance(one, str) and one for one in names):
        raise DataError(f"{path}: classes should be a list of names")
    if not isinstance(rows, list):
        raise DataError(f"{path}: segments should be a list")
    doubted = () if UNCERTAIN in names else (UNCERTAIN,)
    spans = [_span(row, f"{path}, segment {number}") for number, row in enumerate(rows, 1)]
    known = [span for span in spans if span.phase and span.phase not in doubted]
    classes = tuple(dict.fromkeys([*names, *(span.phase for span in known)]))
    operation = str(told["operation"])
    ordered = in_order(known, f"{path}: {operation}")
    return SegmentFile(path, str(told["source"]), operation, str(told["task"]), classes, ordered)


def _span(row: Any, where: str) -> Span:
    """A segment; its class is empty where nothing is known."""
    if not isinstance(row, Mapping) or not {"start_s", "end_s", "class"} <= set(row):
        raise DataError(f"{where}: start_s, end_s and class are expected")
    start_s, end_s = (_seconds(row[name], where) for name in ("start_s", "end_s"))
    kind = row["class"]
    if kind is not None and not isinstance(kind, str):
        raise DataError(f"{where}: class is {kind!r}; give a name, or null where it is not known")
    if not 0 <= start_s < end_s:
        raise DataError(f"{where}: ends at {end_s:g} s, which is not after {start_s:g} s")
    return Span(start_s, end_s, (kind or "").strip())


def _seconds(value: Any, where: str) -> float:
    if isinstance(value, str):
        value = seconds_of(value, where)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"{where}: {value!r} is neither seconds nor HH:MM:SS")
    return float(value)


def segment_files(folder: Path) -> list[Path]:
    """Those of phases below a folder, as predict leaves one in each of its results."""
    names = ("segments.json", f"segments-{PHASE}.json")
    return sorted(path for name in names for path in folder.rglob(name))


def phases_in(files: Sequence[Path]) -> tuple[dict[str, list[Span]], tuple[str, ...]]:
    """Spans by operation, and the classes in the files' order.

    Raises:
        DataError: not such files, of another task, or two of one operation.
    """
    out, of, classes = dict[str, list[Span]](), dict[str, Path](), dict[str, None]()
    for path in files:
        read = read_segments(path)
        if read.task != PHASE:
            raise DataError(
                f"{path}: segments of {read.task!r}, where those of {PHASE!r} are expected; "
                f"'histoscope labels STORE {path}' takes them into a store"
            )
        if read.operation in out:
            raise DataError(
                f"{path}: {of[read.operation]} speaks of {read.operation}, too; keep one"
            )
        out[read.operation], of[read.operation] = list(read.spans), path
        classes |= dict.fromkeys(read.classes)
    return out, tuple(classes)


def labels_of_samples(
    path: Path, index: pa.Table, sources: Mapping[str, Mapping[str, Any]]
) -> OwnLabels:
    """What a file says of the frames of its operation, which is known by its id or its name.

    Args:
        path: the file.
        index: ``id``, ``source`` and ``at_s`` of frames.
        sources: rows of a manifest by id.

    Raises:
        DataError: not such a file, or of no operation of these.
    """
    read = read_segments(path)
    known = NamedSources(sources, NAMING)
    source = read.source if read.source in sources else known.id_of(read.operation, str(path))
    if source is None:
        raise DataError(
            f"{path}: speaks of {read.operation} (id {read.source}), which is not in the store; "
            "prepare that operation first"
        )
    rows = index.select(["id", "at_s"]).filter(pc.equal(index.column("source"), source))
    kinds = read.kinds_at(rows.column("at_s").to_numpy())
    pairs = zip(rows.column("id").to_pylist(), kinds, strict=True)
    return OwnLabels(read.task, read.classes, {one: kind for one, kind in pairs if kind})
