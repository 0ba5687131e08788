"""Tissue as polygons: drawn for a person to correct, and taken back as the mask of a slide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from histoscope.domains.pathology.annotations.drawing import Drawing
from histoscope.domains.pathology.geojson import Feature, feature, runs, stacked

KIND, COLOUR = "Tissue", (0, 160, 80)
SIMPLER = 0.75  # px of the mask that an outline may be moved to have fewer corners


def outline_of(mask: NDArray[np.bool_], ratio: tuple[float, float]) -> Any:
    """Tissue as polygons in level-0 px, with holes, its corners fewer than the mask's.

    Args:
        mask: of the whole canvas, (height, width).
        ratio: level-0 px per px of the mask, x and y.
    """
    top, lower, left, right = stacked(runs(mask)).T
    whole = shapely.union_all(shapely.box(left, top, right, lower))
    simple = shapely.simplify(whole, SIMPLER)
    return shapely.transform(simple, lambda places: (places * ratio).round(1))


def outline_features(outline: Any, source: str, offset: tuple[int, int]) -> Iterator[Feature]:
    """One unlocked annotation for each piece of tissue, so that each can be corrected or deleted.

    Args:
        outline: polygons, level-0 px.
        source: id of the slide.
        offset: what is taken from level-0 px, x and y.
    """
    for number, part in enumerate(shapely.get_parts(shapely.get_parts(outline)), 1):
        moved = shapely.transform(part, lambda places: places - offset)
        told = {
            "objectType": "annotation",
            "name": f"tissue {number}",
            "classification": {"name": KIND, "color": list(COLOUR)},
            "isLocked": False,
        }
        yield feature(f"{source}/tissue/{number}", moved, told)


def mask_of(
    drawings: Sequence[Drawing], shape: tuple[int, int], ratio: tuple[float, float]
) -> NDArray[np.bool_]:
    """Pixels whose centre lies in a drawing, whatever its class is called; (height, width).

    Args:
        drawings: in level-0 px.
        shape: of the mask, height and width.
        ratio: level-0 px per px of the mask, x and y.
    """
    whole = shapely.union_all([one.outline for one in drawings if one.outline is not None])
    height, width = shape
    turns = np.zeros((height, width + 1), np.int32)  # where an edge lies left of a pixel's centre
    for part in shapely.get_parts(shapely.get_parts(whole)):
        for ring in (part.exterior, *part.interiors):
            row, x = _crossings(np.array(ring.coords) / ratio, height)
            np.add.at(turns, (row, np.ceil(x - 0.5).clip(0, width).astype(np.intp)), 1)
    return np.asarray(turns[:, :width].cumsum(axis=1) % 2 == 1)


def _crossings(ring: NDArray[np.float64], height: int) -> tuple[NDArray[np.intp], Any]:
    """Where edges of a ring cross the middle of a row of pixels: rows, and x there."""
    (x0, y0), (x1, y1) = ring[:-1].T, ring[1:].T
    first = np.ceil(np.minimum(y0, y1) - 0.5).clip(0, height).astype(np.intp)
    last = np.ceil(np.maximum(y0, y1) - 0.5).clip(0, height).astype(np.intp)
    count = last - first
    edge = np.repeat(np.arange(len(count)), count)
    row = first[edge] + np.arange(len(edge)) - np.repeat(count.cumsum() - count, count)
    with np.errstate(divide="ignore", invalid="ignore"):  # level edges cross nothing
        slope = (x1 - x0) / (y1 - y0)
    return row, x0[edge] + (row + 0.5 - y0[edge]) * slope[edge]
