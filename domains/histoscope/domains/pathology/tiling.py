"""Where tiles lie, which pixels make them and which lie around one: no file is touched.

Coordinates are stored at level 0. A tile of ``size_px`` at ``wanted_um`` spans
``size_px * wanted_um / mpp`` level-0 pixels along each axis, a fraction kept as it is; its corner
is rounded down to a whole level-0 pixel, so neighbours overlap or part by less than one pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoscope.core.contracts import Neighbour
from histoscope.core.data.relations import near_pairs

PLACE = ("x_level0_px", "y_level0_px", "width_level0_px", "height_level0_px")
LEVEL_TOLERANCE = 0.01
_EDGE = 1e-6  # level-0 px; a tile may end on the edge in spite of rounding


@dataclass(frozen=True)
class Box:
    """A rectangle in level-0 pixels: left, top, width, height."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Rectangle:
    """A rectangle in pixels of one level, fractions allowed."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Grid:
    """Tiles of one slide, row by row.

    Attributes:
        x_level0_px, y_level0_px: left and top edges, int64, (tiles,).
        width_level0_px, height_level0_px: what one tile spans.
    """

    x_level0_px: NDArray[np.int64]
    y_level0_px: NDArray[np.int64]
    width_level0_px: float
    height_level0_px: float


def _starts(
    origin: int, extent: int, span: float, step: float, partial: Literal["drop", "fill"]
) -> NDArray[np.int64]:
    """Left edges along one axis, rounded down, so that a tile that fits still fits."""
    room = extent if partial == "fill" else extent - span
    if room < -_EDGE:
        return np.zeros(0, np.int64)
    count = math.ceil(room / step) if partial == "fill" else math.floor((room + _EDGE) / step) + 1
    return np.asarray(origin + np.floor(np.arange(count) * step + _EDGE), np.int64)


def grid(
    box: Box,
    mpp: tuple[float, float],
    wanted_um: float,
    size_px: int,
    stride_px: int | None,
    partial: Literal["drop", "fill"],
) -> Grid:
    """Lay tiles over a box, row by row from its upper left corner.

    Args:
        box: where tiles may lie.
        mpp: um per level-0 pixel, x and y.
        wanted_um: um per pixel of a tile.
        size_px: side of a tile.
        stride_px: step in tile pixels; None is the side.
        partial: ``drop`` keeps whole tiles only; ``fill`` keeps any that begins inside.
    """
    per_pixel_x, per_pixel_y = wanted_um / mpp[0], wanted_um / mpp[1]
    width, height = size_px * per_pixel_x, size_px * per_pixel_y
    stride = stride_px or size_px
    columns = _starts(box.x, box.width, width, stride * per_pixel_x, partial)
    rows = _starts(box.y, box.height, height, stride * per_pixel_y, partial)
    y, x = np.meshgrid(rows, columns, indexing="ij")
    return Grid(x.ravel(), y.ravel(), width, height)


def downsample(levels: Sequence[tuple[int, int]], level: int) -> tuple[float, float]:
    """Level-0 pixels per pixel of ``level``, x and y, from the sizes themselves."""
    (width0, height0), (width, height) = levels[0], levels[level]
    return width0 / width, height0 / height


def pick_level(
    levels: Sequence[tuple[int, int]], mpp: tuple[float, float], wanted_um: float
) -> int:
    """The coarsest level that is fine enough on both axes, with 1 % tolerance; else level 0."""
    best, best_um = 0, 0.0
    for level in range(len(levels)):
        ratio_x, ratio_y = downsample(levels, level)
        coarser = max(mpp[0] * ratio_x, mpp[1] * ratio_y)
        if best_um < coarser <= wanted_um * (1 + LEVEL_TOLERANCE):
            best, best_um = level, coarser
    return best


def on_level(
    x_level0_px: float, y_level0_px: float, width: float, height: float, ratio: tuple[float, float]
) -> Rectangle:
    """Level-0 rectangle to pixels of a level whose downsample is ``ratio``."""
    return Rectangle(
        x_level0_px / ratio[0], y_level0_px / ratio[1], width / ratio[0], height / ratio[1]
    )


def enclosing(rectangle: Rectangle, limit: tuple[int, int] | None = None) -> Box:
    """The smallest whole-pixel box around a rectangle, cut to ``limit`` (width, height)."""
    left, top = math.floor(rectangle.x + _EDGE), math.floor(rectangle.y + _EDGE)
    right = math.ceil(rectangle.x + rectangle.width - _EDGE)
    bottom = math.ceil(rectangle.y + rectangle.height - _EDGE)
    if limit is not None:
        left, top = max(0, left), max(0, top)
        right, bottom = min(limit[0], right), min(limit[1], bottom)
    return Box(left, top, max(0, right - left), max(0, bottom - top))


def in_steps(box: Box, step: int) -> Box:
    """The smallest box around one whose edges are multiples of a step."""
    left, top = box.x // step * step, box.y // step * step
    right, bottom = -(-(box.x + box.width) // step) * step, -(-(box.y + box.height) // step) * step
    return Box(left, top, right - left, bottom - top)


def has_places(rows: pa.Table) -> bool:
    """Whether every row says where on the slide it lies."""
    return len(rows) > 0 and all(rows.column(name).null_count == 0 for name in PLACE)


def places_of(rows: pa.Table) -> list[NDArray[np.float64]]:
    """Left and top edge, width and height of tiles, level-0 px, (tiles,) each."""
    return [rows.column(n).to_numpy(zero_copy_only=False).astype(np.float64) for n in PLACE]


def around(rows: pa.Table, place: int) -> Sequence[Neighbour]:
    """Tiles of the same slide that begin less than two sides away; none in a labelled set.

    Args:
        rows: all tiles of one slide, with their place.
        place: row of the tile.
    """
    if not has_places(rows):
        return ()
    x, y, width, height = places_of(rows)
    right, down = (x - x[place]) / width[place], (y - y[place]) / height[place]
    near = (np.abs(right) < 2) & (np.abs(down) < 2)
    near[place] = False
    return [Neighbour(int(n), float(right[n]), float(down[n])) for n in np.flatnonzero(near)]


def relations(index: pa.Table, partner_sides: float, same_sides: float) -> pa.Table:
    """Which tiles lie near each other, as :func:`near_pairs`; none in a labelled set.

    Args:
        index: rows of an index.
        partner_sides, same_sides: distances of corners, in sides of a tile. Corners lie on whole
            pixels, so one pixel more is as far.
    """
    x, y, width, height = places_of(index)
    slack = float(np.nanmax(1 / width, initial=0))
    within = {"partner": partner_sides, "same": same_sides}
    places = np.stack([x / width, y / height], axis=1)
    sources = index.column("source").to_pylist()
    return near_pairs(sources, places, {k: v and v + slack for k, v in within.items()})
