"""The one resize code, for training and prediction alike: exact area averaging.

An output pixel is the mean of the input over its own footprint, input pixels counted by the part
of them that lies inside. This is what ``cv2.INTER_AREA`` computes for a whole image, but here the
region may begin and end anywhere inside a pixel, so that tiles lie where their coordinates say.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_WHOLE = 1e-6  # px; nearer to a whole pixel than this is a whole pixel


@lru_cache(maxsize=256)
def _weights(
    start_px: float, stop_px: float, end_px: float, inputs: int, outputs: int
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Which input pixels make an output pixel, and by how much.

    Returns:
        Input index and weight, both (outputs, taps); what a row lacks to one lies behind the end.
    """
    edges = np.linspace(start_px, stop_px, outputs + 1)
    low, high = edges[:-1, None], edges[1:, None]
    first = np.floor(low + _WHOLE).astype(np.intp)
    taps = int((np.ceil(high - _WHOLE).astype(np.intp) - first).max())
    index = first + np.arange(max(1, taps))
    inside = np.minimum(np.minimum(index + 1, high), end_px) - np.maximum(index, low)
    weight = np.clip(inside, 0, None) * outputs / (stop_px - start_px)
    return np.clip(index, 0, inputs - 1), weight.astype(np.float32)


def resample(
    image: NDArray[np.uint8],
    x_px: float,
    y_px: float,
    width_px: float,
    height_px: float,
    size: tuple[int, int],
    end: tuple[float, float] = (np.inf, np.inf),
) -> NDArray[np.uint8]:
    """Area-average a rectangle of an image to ``size``.

    Args:
        image: (height, width, 3), uint8.
        x_px, y_px: left and top edge of the rectangle, px of ``image``, fractions allowed.
        width_px, height_px: its extent. Where it reaches over the image but not over ``end``, by
            a part of a pixel, the last pixel goes on.
        size: output width and height, px.
        end: right and lower end of the picture, px of ``image``; behind it is white.

    Returns:
        (size[1], size[0], 3), uint8, rounded to nearest; a part of ``image`` itself, not to be
        written on, when the rectangle lies on whole pixels and already has this size.
    """
    columns, rows = size
    on_grid = max(abs(x_px - round(x_px)), abs(y_px - round(y_px))) < _WHOLE
    same = max(abs(width_px - columns), abs(height_px - rows)) < _WHOLE
    left, top = round(x_px), round(y_px)
    within = left + columns <= image.shape[1] and top + rows <= image.shape[0]
    if on_grid and same and within:
        return image[top : top + rows, left : left + columns]
    row_index, row_weight = _weights(y_px, y_px + height_px, end[1], image.shape[0], rows)
    column_index, column_weight = _weights(x_px, x_px + width_px, end[0], image.shape[1], columns)
    tall = np.zeros((rows, *image.shape[1:]), np.float32)
    for tap in range(row_index.shape[1]):
        tall += image[row_index[:, tap]] * row_weight[:, tap, None, None]
    out = np.zeros((rows, columns, image.shape[2]), np.float32)
    for tap in range(column_index.shape[1]):
        out += tall[:, column_index[:, tap]] * column_weight[:, tap, None]
    cover = row_weight.sum(axis=1)[:, None] * column_weight.sum(axis=1)
    out += 255 * (1 - cover)[:, :, None]
    return np.clip(np.rint(out), 0, 255).astype(np.uint8)
