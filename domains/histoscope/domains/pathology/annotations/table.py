"""Tables of what annotations say of a store: one row a drawing, and labels of tiles."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import shapely

from histoscope.core.data.store import Store
from histoscope.core.errors import DataError, UsageError, near_word
from histoscope.core.files import write_csv
from histoscope.core.work.folder import OutFolder
from histoscope.domains.pathology.annotations.drawing import Drawing
from histoscope.domains.pathology.annotations.drawn import boxes_of, classes_of
from histoscope.domains.pathology.annotations.matching import match
from histoscope.domains.pathology.annotations.qupath import bounds_offset
from histoscope.domains.pathology.annotations.reading import read_drawings
from histoscope.domains.pathology.options import PrepareOptions

ANNOTATIONS = ("histoscope.annotations", 1)
ASKED = {"task", "class_names", "rest_is", "coordinates"}
SCHEMA = pa.schema(
    [
        pa.field("file", pa.string()),
        pa.field("slide", pa.string()),
        pa.field("source", pa.string()),
        pa.field("number", pa.int64()),
        pa.field("name", pa.string()),
        pa.field("class", pa.string()),
        pa.field("area_mm2", pa.float64()),
        pa.field("tiles", pa.int64()),
        pa.field("note", pa.string()),
    ]
)


@dataclass(frozen=True)
class AnnotationSummary:
    """What was written.

    Attributes:
        file: name of the label table.
        tiles: by class, most first.
        drawings, used: annotations, and those that label a tile.
        idle: files that gave nothing.
    """

    file: str
    tiles: Mapping[str, int]
    drawings: int
    used: int
    idle: int


def write_annotation_tables(
    store: Store, options: PrepareOptions, classes: Sequence[str], out: Path
) -> AnnotationSummary:
    """Write ``annotations.csv`` and ``labels-TASK.csv``.

    Args:
        store: of slides.
        options: annotations, class_names, rest_is, coordinates and task count.
        classes: those that count; empty: all.
        out: folder, absent or empty.

    Raises:
        UsageError: ``out`` holds something, or the rest is no class that counts.
        DataError: no annotation file there, or a store of another domain.
    """
    if store.domain != "pathology" or options.annotations is None:
        raise DataError(f"{store.path}: holds {store.domain}, not slides")
    if options.rest_is and classes and options.rest_is not in classes:
        raise UsageError(f"--rest-is {options.rest_is}: not one of --classes {','.join(classes)}")
    opened = {
        key: row for key, row in store.manifest.items() if "width_level0_px" in (row["facts"] or "")
    }
    matches = match(options.annotations, {key: row["path"] for key, row in opened.items()})
    file = f"labels-{options.task}.csv"
    folder = OutFolder(out, ANNOTATIONS, closing="annotations.csv", left=[file])
    folder.take()
    folder.claim({**options.model_dump(mode="json", include=ASKED), "classes": list(classes)})
    rows = [_row(path, note=reason) for path, reason in matches.idle.items()]
    labels = list[dict[str, str]]()
    for source, files in matches.files.items():
        more, told = _slide(store, opened[source], files, options, classes)
        rows += more
        labels += told
    if labels:
        write_csv(out / file, pa.Table.from_pylist(labels))
    write_csv(out / "annotations.csv", pa.Table.from_pylist(rows, SCHEMA))
    tiles = dict(Counter(one["label"] for one in labels).most_common())
    gained = [row["tiles"] for row in rows if row["number"]]
    used = sum(count > 0 for count in gained)
    return AnnotationSummary(file, tiles, len(gained), used, len(rows) - len(gained))


def _slide(
    store: Store,
    told: Mapping[str, Any],
    files: Sequence[Path],
    options: PrepareOptions,
    classes: Sequence[str],
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Rows of the drawings of one slide, and labels of its tiles."""
    facts = json.loads(told["facts"])
    x, y = bounds_offset(facts, options.coordinates)
    rows, places, drawings = list[dict[str, Any]](), list[Path](), list[Drawing]()
    for path in files:
        try:
            several = read_drawings(path, (x, y), options.classes())
        except DataError as fault:
            rows.append(_row(path, told, note=str(fault)))
        else:
            places += [path] * len(several)
            drawings += several
    index = store.index.filter(pc.equal(store.index.column("source"), told["id"]))
    counting = [
        one if not classes or one.kind in classes else replace(one, kind=None) for one in drawings
    ]  # what a drawing of another class covers is still not the rest
    answer = classes_of(boxes_of(index), counting, options.rest_is)
    mm2 = facts["mpp_x"] * facts["mpp_y"] / 1e6
    for path, one, tiles in zip(places, drawings, answer.gained, strict=True):
        area = None if one.outline is None else float(shapely.area(one.outline)) * mm2
        rows.append(_row(path, told, one, area, tiles, _note(one, tiles, classes)))
    pairs = zip(index.column("id").to_pylist(), answer.classes, strict=True)
    task = options.task
    return rows, [{"sample": one, "task": task, "label": name} for one, name in pairs if name]


def _note(one: Drawing, tiles: int, classes: Sequence[str]) -> str:
    """What was mended, and why it labels no tile."""
    reason = ""
    if one.outline is not None and one.kind is None:
        reason = "no class"
    elif one.outline is not None and classes and one.kind not in classes:
        reason = f"{one.kind!r} is none of the classes{near_word(str(one.kind), classes)}"
    elif one.outline is not None and not tiles:
        reason = "covers half of no tile"
    return "; ".join(filter(None, [one.note, reason]))


def _row(
    path: Path,
    told: Mapping[str, Any] | None = None,
    one: Drawing | None = None,
    area_mm2: float | None = None,
    tiles: int = 0,
    note: str = "",
) -> dict[str, Any]:
    return {
        "file": path.name,
        "slide": told and told["path"],
        "source": told and told["id"],
        "number": one and one.number,
        "name": one and one.name,
        "class": one and one.kind,
        "area_mm2": area_mm2,
        "tiles": tiles,
        "note": note,
    }
