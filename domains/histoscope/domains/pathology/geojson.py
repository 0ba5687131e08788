"""What a package says of a slide, as QuPath (0.4 to 0.7) opens it: tiles, and regions of a class.

Ids are made from those of the tiles, so that a second call writes the same bytes. Features are
made and written one after another.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from histoscope.core.contracts import Answer
from histoscope.core.files import atomic_path
from histoscope.domains.pathology.canvas import rgb
from histoscope.domains.pathology.class_map import ClassMap
from histoscope.domains.pathology.tiling import PLACE

FEATURES = uuid.UUID("6f2d2f0e-0c0e-5b5e-9a53-6f3b1d1c7a10")  # ids are made from names in it
AT_ONCE = 4096  # rows that are turned into text at a time
DECIMALS = 6

Feature = Mapping[str, Any]


def write_features(path: Path, features: Iterable[Feature]) -> None:
    """Write a FeatureCollection, a line a feature, atomically."""
    with atomic_path(path) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for number, feature in enumerate(features):
            text = json.dumps(feature, ensure_ascii=False, allow_nan=False)
            file.write(f"{',' if number else ''}\n{text}")
        file.write("\n]}\n")


def rectangle(x: float, y: float, width: float, height: float) -> dict[str, Any]:
    """A polygon of GeoJSON, its corner in pixels of the viewer."""
    right, bottom = x + width, y + height
    ring = [[x, y], [right, y], [right, bottom], [x, bottom], [x, y]]
    return {"type": "Polygon", "coordinates": [ring]}


def tile_features(
    rows: pa.Table,
    ids: Sequence[str],
    answer: Answer | None,
    offset: tuple[int, int],
    more: Mapping[str, NDArray[np.float64]] = MappingProxyType({}),
) -> Iterator[Feature]:
    """One ``tile`` each, with its class and measurements; an unreadable one has neither.

    Where several classes may hold, those that do make one class of QuPath, ``A: B``.

    Args:
        rows: places and ``status`` of tiles.
        ids: of the tiles.
        answer: of one head of tiles, whose probabilities are measurements; None: of none.
        offset: what is taken from level-0 px, x and y.
        more: measurements by name, (tiles,) each, NaN where there is none; one at least where
            there is no answer.
    """
    task = answer.task.name if answer else "attention"
    for first in range(0, len(rows), AT_ONCE):
        some = slice(first, first + AT_ONCE)
        columns = [rows.column(name)[some].to_pylist() for name in (*PLACE, "status")]
        lines = zip(*columns, ids[some], _said(answer, more, some), strict=True)
        for x, y, width, height, status, name, said in lines:
            told = {"objectType": "tile", **(said if status == "ok" else {"name": status})}
            place = rectangle(float(x) - offset[0], float(y) - offset[1], width, height)
            yield _of(f"{name}/{task}", place, told)


def _said(
    answer: Answer | None, more: Mapping[str, NDArray[np.float64]], some: slice
) -> Iterator[dict[str, Any]]:
    """Class and measurements of some tiles."""
    part = replace(answer, probabilities=answer.probabilities[some]) if answer else None
    names = [*(part.task.classes if part else ()), *more]
    known = [*(part.probabilities.T if part else ()), *(one[some] for one in more.values())]
    values = np.stack(known, axis=1).astype(np.float64).round(DECIMALS).tolist()
    held = part.chosen().tolist() if part else [()] * len(values)
    for numbers, kinds in zip(values, held, strict=True):
        pairs = zip(names, numbers, strict=True)
        said = {"measurements": {name: one for name, one in pairs if math.isfinite(one)}}
        found = [place for place, one in enumerate(kinds) if one]
        yield {**_classified(part, found), **said} if part else said


def region_features(
    where: ClassMap, source: str, answer: Answer, mpp: tuple[float, float], offset: tuple[int, int]
) -> Iterator[Feature]:
    """One ``annotation`` a class that is there: all that it covers, merged, with its area.

    Args:
        where: classes of the slide's cells.
        source: id of the slide.
        answer: of one head, of exclusive classes.
        mpp: um per level-0 pixel, x and y.
        offset: what is taken from level-0 px, x and y.
    """
    for number, name in enumerate(answer.kinds):
        found = runs(where.cells == number)
        if not len(found):
            continue
        top, lower, left, right = stacked(found).T
        boxes = shapely.box(
            where.x_edges[left] - offset[0],
            where.y_edges[top] - offset[1],
            where.x_edges[right] - offset[0],
            where.y_edges[lower] - offset[1],
        )
        whole = shapely.union_all(boxes)
        area_mm2 = round(float(whole.area) * mpp[0] * mpp[1] / 1e6, DECIMALS)
        told = {
            "objectType": "annotation",
            "name": name,
            **_classified(answer, [number]),
            "isLocked": True,
            "measurements": {"Area mm2": area_mm2},
        }
        yield feature(f"{source}/{answer.task.name}/{name}", whole, told)


def runs(there: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Row, first and last-but-one column of neighbours in a row, (runs, 3)."""
    padded = np.pad(there, ((0, 0), (1, 1))).astype(np.int8)
    steps = np.diff(padded, axis=1)
    row, left = np.nonzero(steps == 1)
    _, right = np.nonzero(steps == -1)
    return np.stack([row, left, right], axis=1)


def stacked(found: NDArray[np.intp]) -> NDArray[np.intp]:
    """Runs of :func:`runs` that lie one below another and are alike, as one: rows from and to.

    Returns:
        First row, last-but-one row, first and last-but-one column, (blocks, 4).
    """
    if not len(found):
        return np.zeros((0, 4), np.intp)
    order = np.lexsort((found[:, 0], found[:, 2], found[:, 1]))
    row, left, right = found[order].T
    new = np.ones(len(row), np.bool_)
    new[1:] = (np.diff(row) != 1) | (np.diff(left) != 0) | (np.diff(right) != 0)
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(row)) - 1
    return np.stack([row[first], row[last] + 1, left[first], right[first]], axis=1)


def _classified(answer: Answer, kinds: Sequence[int]) -> dict[str, Any]:
    """QuPath refuses an object of a class without a colour."""
    if not kinds:
        return {}
    name = ": ".join(answer.kinds[kind] for kind in kinds)
    return {"classification": {"name": name, "color": list(rgb(answer.kind_colours[kinds[0]]))}}


def feature(name: str, outline: Any, told: Mapping[str, Any]) -> Feature:
    """An object of QuPath.

    Args:
        name: its id is made from it.
        outline: of shapely, in pixels of the viewer.
        told: its properties.
    """
    return _of(name, json.loads(shapely.to_geojson(outline)), told)


def _of(name: str, geometry: Mapping[str, Any], told: Mapping[str, Any]) -> Feature:
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(FEATURES, name)),
        "geometry": geometry,
        "properties": told,
    }
