"""How much of a tile is tissue."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from histoscope.domains.pathology.tiling import Grid


def tissue_parts(
    tissue: NDArray[np.bool_], ratio: tuple[float, float], tiles: Grid
) -> NDArray[np.float64]:
    """Part of every tile that is tissue, 0 to 1.

    Args:
        tissue: mask of the whole canvas, (height, width).
        ratio: level-0 px per mask px, x and y.
        tiles: where they lie; what reaches over the canvas counts as no tissue.
    """
    total = np.zeros((tissue.shape[0] + 1, tissue.shape[1] + 1))
    total[1:, 1:] = tissue.cumsum(axis=0, dtype=np.float64).cumsum(axis=1)
    left, top = tiles.x_level0_px / ratio[0], tiles.y_level0_px / ratio[1]
    width, height = tiles.width_level0_px / ratio[0], tiles.height_level0_px / ratio[1]
    inside = (
        _sum_to(total, left + width, top + height)
        - _sum_to(total, left, top + height)
        - _sum_to(total, left + width, top)
        + _sum_to(total, left, top)
    )
    return np.clip(inside / (width * height), 0.0, 1.0)


def _sum_to(
    total: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Summed-area table read between its entries: exact for fractions of pixels."""
    x, y = np.clip(x, 0, total.shape[1] - 1), np.clip(y, 0, total.shape[0] - 1)
    left = np.minimum(x.astype(np.intp), total.shape[1] - 2)
    top = np.minimum(y.astype(np.intp), total.shape[0] - 2)
    part_x, part_y = x - left, y - top
    upper = total[top, left] * (1 - part_x) + total[top, left + 1] * part_x
    lower = total[top + 1, left] * (1 - part_x) + total[top + 1, left + 1] * part_x
    return np.asarray(upper * (1 - part_y) + lower * part_y)
