"""What a tile must be: float64 area means of the pixels of one level, white beyond its edge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from histoscope.core.contracts import Reader, Sample


def mean_of(
    image: NDArray[np.uint8], x: float, y: float, width: float, height: float, side: int
) -> NDArray[np.float64]:
    """Means of side x side parts of a rectangle of an image."""
    left, top = max(0, int(x) - 1), max(0, int(y) - 1)
    part = image[top : int(y + height) + 2, left : int(x + width) + 2].astype(np.float64)
    rows = _along(part, y - top, height, 0, side)
    return _along(rows, x - left, width, 1, side)


def _along(
    image: NDArray[np.float64], start: float, extent: float, axis: int, side: int
) -> NDArray[np.float64]:
    lines = np.moveaxis(image, axis, 0)
    total = np.concatenate([np.zeros((1, *lines.shape[1:])), lines.cumsum(axis=0)])
    edges = np.linspace(start, start + extent, side + 1)
    over = np.clip(edges - len(lines), 0, None) * 255.0
    whole = np.minimum(edges.astype(int), len(lines) - 1)
    part = np.minimum(edges - whole, 1.0)[:, None, None]
    at_edges = total[whole] * (1 - part) + total[whole + 1] * part + over[:, None, None]
    return np.moveaxis(np.diff(at_edges, axis=0) / (extent / side), 0, axis)


def faults(
    reader: Reader, levels: Sequence[NDArray[np.uint8]], side: int, most: int | None = None
) -> NDArray[np.float64]:
    """Greatest difference to the reference, one number a tile of the reader's own plan.

    Args:
        reader: closed here.
        levels: pixels of the slide, level by level.
        side: of a tile, px.
        most: tiles that are looked at, about, spread over the plan; None: all.
    """
    with reader:
        rows = reader.plan().rows
        if most is not None:
            step = max(1, len(rows) // most)
            rows = rows.take([*range(0, len(rows), step), len(rows) - 1])
        level = levels[int(reader.facts["read_level"] or 0)]
        ratio = levels[0].shape[1] / level.shape[1], levels[0].shape[0] / level.shape[0]
        found = []
        for row, sample in zip(rows.to_pylist(), reader.read(rows), strict=True):
            assert isinstance(sample, Sample), sample
            assert sample.image.shape == (side, side, 3)
            x, y = row["x_level0_px"] / ratio[0], row["y_level0_px"] / ratio[1]
            width, height = row["width_level0_px"] / ratio[0], row["height_level0_px"] / ratio[1]
            wanted = mean_of(level, x, y, width, height, side)
            found.append(np.abs(sample.image - wanted).max())
    return np.array(found)
