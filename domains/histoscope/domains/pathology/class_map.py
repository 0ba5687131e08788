"""Which class, or which step of a number, lies where on a slide: exact areas, also of overlaps.

The edges of all tiles cut the slide into cells; a cell lies in a tile wholly or not at all. Every
tile adds its scores to its cells, and the best sum names the cell; of a number it is the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoscope.domains.pathology.tiling import places_of

NOTHING = -1


@dataclass(frozen=True)
class ClassMap:
    """The classes, or the steps of a number, of a slide's cells.

    Attributes:
        x_edges, y_edges: level-0 px, ascending, (columns + 1,) and (rows + 1,).
        cells: class id, int16, (rows, columns); ``NOTHING`` where no tile lies; the number of
            classes where none is certain; ``unreadable`` where only unreadable tiles lie.
        unreadable: the id of those: the number of kinds.
    """

    x_edges: NDArray[np.float64]
    y_edges: NDArray[np.float64]
    cells: NDArray[np.int16]
    unreadable: int

    def areas_px(self) -> NDArray[np.float64]:
        """Level-0 pixels of each kind, then of what is unreadable, (kinds + 1,)."""
        sizes = np.diff(self.y_edges)[:, None] * np.diff(self.x_edges)[None, :]
        seen = self.cells != NOTHING
        areas = np.bincount(self.cells[seen], sizes[seen], minlength=self.unreadable + 1)
        return areas.astype(np.float64)

    def on_picture(self, shape: tuple[int, int], ratio: tuple[float, float]) -> NDArray[np.int16]:
        """The class at the centre of each pixel of a small picture.

        Args:
            shape: height and width of the picture.
            ratio: level-0 px per pixel of the picture, x and y.
        """
        column = _cell((np.arange(shape[1]) + 0.5) * ratio[0], self.x_edges)
        row = _cell((np.arange(shape[0]) + 0.5) * ratio[1], self.y_edges)
        inside = ((row >= 0) & (row < self.cells.shape[0]))[:, None] & (
            (column >= 0) & (column < self.cells.shape[1])
        )
        picked = self.cells.take(row, 0, mode="clip").take(column, 1, mode="clip")
        return np.where(inside, picked, np.int16(NOTHING))


def class_map(
    rows: pa.Table, probabilities: NDArray[np.float32], size: tuple[int, int], least: float = 0
) -> ClassMap:
    """Sum the scores of tiles over the cells that their edges make.

    Args:
        rows: tiles with their place; at least one.
        probabilities: (tiles, classes); NaN where a tile is unreadable.
        size: where the scan ends, level-0 px, x and y; what reaches over it is cut off.
        least: mean score of its tiles below which a cell's best class is not certain; above 0
            there is such a kind, with the number of classes as its id.
    """
    cells, classes = _summed(rows, probabilities, size), probabilities.shape[1]
    best, kinds = cells.sums.argmax(axis=2), classes + (least > 0)
    unsure = cells.sums.max(axis=2) < np.float32(least) * cells.votes
    return cells.called(np.where(unsure, classes, best), kinds)


def step_map(
    rows: pa.Table, values: NDArray[np.float64], size: tuple[int, int], steps: Sequence[float]
) -> ClassMap:
    """In place of a class, into which step the mean of a cell's tiles falls.

    Args:
        rows, size: see :func:`class_map`.
        values: of each tile, (tiles,); NaN where it is unreadable.
        steps: where each but the first begins, ascending.
    """
    cells = _summed(rows, values[:, None], size)
    means = cells.sums[:, :, 0] / np.maximum(cells.votes, 1)
    return cells.called(np.digitize(means, steps), len(steps) + 1)


@dataclass(frozen=True)
class _Cells:
    """Cells with the sums of their tiles' values, how many readable ones these are, and if any."""

    x_edges: NDArray[np.float64]
    y_edges: NDArray[np.float64]
    sums: NDArray[np.floating]
    votes: NDArray[np.int32]
    covered: NDArray[np.bool_]

    def called(self, numbers: NDArray[np.integer], kinds: int) -> ClassMap:
        """With a number for each cell, where a readable tile lies."""
        lost = np.where(self.covered, kinds, NOTHING)
        cells = np.where(self.votes > 0, numbers, lost).astype(np.int16)
        return ClassMap(self.x_edges, self.y_edges, cells, kinds)


def _summed(rows: pa.Table, values: NDArray[np.floating], size: tuple[int, int]) -> _Cells:
    x, y, width, height = places_of(rows)
    right, bottom = np.minimum(x + width, size[0]), np.minimum(y + height, size[1])
    x_edges, y_edges = np.unique(np.concatenate([x, right])), np.unique(np.concatenate([y, bottom]))
    spans = [
        np.searchsorted(edges, ends)
        for edges, ends in ((y_edges, y), (y_edges, bottom), (x_edges, x), (x_edges, right))
    ]
    sums = np.zeros((len(y_edges) - 1, len(x_edges) - 1, values.shape[1]), values.dtype)
    covered, votes = np.zeros(sums.shape[:2], np.bool_), np.zeros(sums.shape[:2], np.int32)
    readable = np.isfinite(values.sum(axis=1))
    for place, (top, low, left, far) in enumerate(zip(*spans, strict=True)):
        covered[top:low, left:far] = True
        if readable[place]:
            sums[top:low, left:far] += values[place]
            votes[top:low, left:far] += 1
    return _Cells(x_edges, y_edges, sums, votes, covered)


def _cell(places: NDArray[np.floating], edges: NDArray[np.float64]) -> NDArray[np.intp]:
    return np.searchsorted(edges, places, side="right") - 1
