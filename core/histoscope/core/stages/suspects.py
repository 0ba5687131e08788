"""Where a class is most probable: a few samples of each source to look at, and how sources rank.

Of a class of sources, they rank by its probability, and samples are shown that counted most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoscope.core.contracts import (
    Answer,
    CloseUp,
    CorruptSample,
    Domain,
    Reader,
    Results,
    Task,
)
from histoscope.core.data.shard import encode
from histoscope.core.data.units import sample_keys
from histoscope.core.errors import HistoscopeError, UsageError, near_word
from histoscope.core.evaluation.finding import expected_highest
from histoscope.core.files import write_bytes, write_csv
from histoscope.core.work.job import as_reason
from histoscope.core.work.outcome import Outcome

SHOWN = 12
LEAST = 0.5  # of the average sample's attention; what counted less explains nothing
TABLE = "suspicious.csv"
OF_PICTURE = ("file", "size", "box", "place")


@dataclass(frozen=True)
class Suspicion:
    """The class of a task that is looked for."""

    task: str
    kind: str

    @classmethod
    def of(cls, tasks: Sequence[Task], word: str) -> Suspicion:
        """By its name, or ``TASK:CLASS``.

        Args:
            tasks: of the package.
            word: of the command line.

        Raises:
            UsageError: no class, or one of several tasks.
        """
        known = [(one.name, kind) for one in tasks for kind in one.classes]
        found = [cls(*one) for one in known if word in (one[1], ":".join(one))]
        if len(found) == 1:
            return found[0]
        if found:
            offers = ", ".join(f"{one.task}:{one.kind}" for one in found)
            raise UsageError(f"--suspicious {word}: a class of several tasks; give one of {offers}")
        names = list(dict.fromkeys(kind for _, kind in known))
        raise UsageError(
            f"--suspicious {word}: the package has no such class{near_word(word, names)} "
            f"(known: {', '.join(names)})"
        )


def show(
    wanted: Suspicion,
    domain: Domain,
    reader: Reader,
    results: Results,
    out: Path,
    beat: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Write pictures of the most suspicious samples, and the table that says where they are.

    A sample that lies around one already chosen is not shown again: it is in that one's picture,
    where others that were called the class are framed thinly. Of a class of sources, samples are
    shown that counted most in the answer, whatever it is; none where the head does not say.

    Args:
        wanted: the class.
        domain: of the source.
        reader: of it, open.
        results: what the package says of it; at least one sample could be read.
        out: its folder.
        beat: called at every picture.

    Returns:
        What the report needs: score of the source, samples called the class, and what is shown.
    """
    every = (*results.answers, *results.of_source)
    answer = next(one for one in every if one.task.name == wanted.task)
    column = answer.task.classes.index(wanted.kind)
    score, scores, called = _scored(results, answer, column)
    places = _apart(domain, results.rows, scores)
    seen = _close_ups(domain, reader, results, places)
    keys = sample_keys(results.source, results.rows)
    shown = []
    for rank, (place, one) in enumerate(zip(places, seen, strict=True), 1):
        beat()
        told = {"rank": rank, "id": keys[place], "score": round(float(scores[place]), 6)}
        if isinstance(one, CorruptSample):
            shown.append({**told, "where": one.reason, **dict.fromkeys(OF_PICTURE)})
            continue
        image = _outlined(domain, results, place, one, called, answer.colours[column])
        file = f"suspicious-{rank:02d}.jpg"
        write_bytes(out / file, encode(image, "jpeg"))
        shown.append({**told, "where": one.where, **_of_picture(file, one)})
    _write(domain, results, places, shown, out / TABLE)
    return {
        "task": wanted.task,
        "class": wanted.kind,
        "level": answer.task.level,
        "score": round(score, 6),
        "called": None if called is None else int(called.sum()),
        "shown": shown,
    }


def _scored(
    results: Results, answer: Answer, column: int
) -> tuple[float, NDArray[np.floating], NDArray[np.bool_] | None]:
    """Score of the source, those of samples, and which were called the class: None of sources."""
    scores = answer.probabilities[:, column]
    if answer.task.level == "source":
        counted = results.counted(answer)
        return float(scores[0]), np.where(counted >= LEAST, counted, np.nan), None
    return expected_highest(scores), scores, answer.chosen()[:, column]


def _close_ups(
    domain: Domain, reader: Reader, results: Results, places: Sequence[int]
) -> Iterator[CloseUp | CorruptSample]:
    """One a place; where the domain fails, the rest are corrupt: the answers stand without them."""
    made = 0
    try:
        for one in domain.close_ups(reader, results.rows, places):
            made += 1
            yield one
    except HistoscopeError:
        raise
    except Exception as fault:  # whatever a decoder raises
        reason = as_reason(results.source, fault).reason
        yield from [CorruptSample(reason)] * (len(places) - made)


def _of_picture(file: str, one: CloseUp) -> dict[str, Any]:
    """Its file, its width and height, where the sample is in it, and where on the whole."""
    box, place = (
        part and [round(float(edge), 3) for edge in part] for part in (one.box, one.place)
    )
    size = [one.image.shape[1], one.image.shape[0]]
    return dict(zip(OF_PICTURE, (file, size, box, place), strict=True))


def _apart(domain: Domain, rows: pa.Table, scores: NDArray[np.floating]) -> list[int]:
    """Rows of the highest scores, none around another; the first of equals before the others."""
    left = np.where(np.isfinite(scores), scores, -1.0).astype(np.float64)
    found = list[int]()
    while len(found) < SHOWN and left.max(initial=-1.0) >= 0:
        place = int(left.argmax())
        found.append(place)
        left[[place, *(one.place for one in domain.around(rows, place))]] = -1
    return found


def _outlined(
    domain: Domain,
    results: Results,
    place: int,
    one: CloseUp,
    called: NDArray[np.bool_] | None,
    colour: str,
) -> NDArray[np.uint8]:
    """The picture with the sample in a frame, and those beside it that were called the class."""
    image = np.ascontiguousarray(one.image)
    left, top, width, height = one.box
    ink = tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5))
    thick = max(2, min(image.shape[:2]) // 200)
    for beside in domain.around(results.rows, place):
        if called is not None and called[beside.place]:
            corner = left + beside.right * width, top + beside.down * height
            _outline(image, (*corner, width, height), ink, 1)
    if (width, height) != (image.shape[1], image.shape[0]):
        _outline(image, one.box, (255, 255, 255), 3 * thick)
        _outline(image, one.box, ink, thick)
    return image


def _outline(
    image: NDArray[np.uint8],
    box: tuple[float, float, float, float],
    ink: tuple[int, ...],
    thick: int,
) -> None:
    left, top, width, height = box
    ends = (round(left), round(top)), (round(left + width) - 1, round(top + height) - 1)
    cv2.rectangle(image, *ends, ink, thick)


def _write(
    domain: Domain,
    results: Results,
    places: Sequence[int],
    shown: Sequence[dict[str, Any]],
    path: Path,
) -> None:
    """One row a sample that is shown, with its place and where it is in its picture."""
    names = [field.name for field in domain.location]
    where = results.rows.select(names).take(pa.array(places, pa.int64()))
    boxes = [one["box"] or [None] * 4 for one in shown]
    columns: dict[str, Any] = {
        "rank": pa.array([one["rank"] for one in shown], pa.int64()),
        "id": pa.array([one["id"] for one in shown], pa.string()),
        **{name: where.column(name) for name in names},
        "score": pa.array([one["score"] for one in shown], pa.float64()),
        "file": pa.array([one["file"] for one in shown], pa.string()),
    }
    for at, name in enumerate(("left_px", "top_px", "width_px", "height_px")):
        columns[name] = pa.array([box[at] for box in boxes], pa.float64())
    write_csv(path, pa.table(columns))


def write_ranking(out: Path, outcomes: Sequence[Outcome]) -> None:
    """Write ``suspicious.csv`` of a folder: every source, the most suspicious first.

    Sources that could not be ranked stand last, without a rank.
    """
    rows = [_row(one) for one in outcomes]
    if any(row["score"] is not None for row in rows):
        rows.sort(key=lambda row: -1.0 if row["score"] is None else row["score"], reverse=True)
        for rank, row in enumerate(rows, 1):
            row["rank"] = rank if row["score"] is not None else None
        write_csv(out / TABLE, pa.Table.from_pylist(rows, RANKING))


def ranked(outcomes: Sequence[Outcome]) -> list[tuple[Outcome, float]]:
    """Sources that have a score, with it, the most suspicious first."""
    scored = [
        (one, one.more["suspicious"]["score"]) for one in outcomes if "suspicious" in one.more
    ]
    return sorted(scored, key=lambda pair: -pair[1])


RANKING = pa.schema(
    [
        pa.field("rank", pa.int64()),
        *(pa.field(name, pa.string()) for name in ("id", "path", "case", "status", "class")),
        pa.field("score", pa.float64()),
        pa.field("samples", pa.int64()),
        pa.field("called", pa.int64()),
        pa.field("share", pa.float64()),
    ]
)


def _row(one: Outcome) -> dict[str, Any]:
    told = one.more.get("suspicious") or {}
    source = {"id": one.source.id, "path": one.source.path, "case": one.source.case}
    called = told.get("called")
    share = None if called is None else round(called / max(1, one.samples), 6)
    found = {"class": told.get("class"), "score": told.get("score"), "called": called}
    return {**source, "status": one.status, "samples": one.samples, "share": share, **found}
