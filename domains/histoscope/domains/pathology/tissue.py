"""Where tissue lies on a thumbnail, stain colour against the glass, and how much of a tile it is.

The measure is how much more green than red or blue light is taken away, in optical density
relative to the glass. Haematoxylin, eosin, DAB and Giemsa all do this; grey things (coverslip
edges, dust, black pen) and green pen do not. Limits, seen on real pictures: out-of-focus tissue is
tissue; red, brown and blue pen are taken for stain; heavily under-exposed tissue is taken for black
ink; a field that is pale everywhere, without any glass, may lose its palest part. Dark-field
pictures (fluorescence, masks) are recognised and have no tissue in this sense.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from histoscope.domains.pathology.tiling import Grid

VOID_LEVEL = 10  # brightest channel below this: never scanned, or a mask
STAIN_OD = 0.05  # glass of 8 real slides stays below 0.03, the palest sections reach 0.07
SEPARATION_OD = 0.04  # between the means of the two classes; less is one class, not two
SMALLEST_PX = 25  # connected pixels of the thumbnail
SMALLEST_PART = 2e-5  # of the thumbnail
_INK_OD, _INK_COLOUR = 1.2, 0.3  # black ink: dense, and its colour little beside its density
_GLASS_LEVEL, _GLASS_CHROMA = 190, 40  # what may be glass, 0 to 255
_ENOUGH_GLASS = 0.01
_DARK_OD = 2.5  # median of a fluorescence slide 4.6, of a field at 22 % of its light 1.7


def tissue_mask(
    thumbnail: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Find tissue.

    Args:
        thumbnail: (height, width, 3), RGB, some 2 to 30 um per pixel.
        valid: (height, width); False where the scanner saw nothing. None: all seen.

    Returns:
        bool, (height, width); all False on an empty slide.
    """
    seen = void_free(thumbnail) if valid is None else valid & void_free(thumbnail)
    if not seen.any() or is_dark_field(thumbnail, seen):
        return np.zeros(seen.shape, np.bool_)
    smooth = np.asarray(cv2.medianBlur(np.ascontiguousarray(thumbnail), 3), np.uint8)
    density = _optical_density(smooth, glass_colour(smooth, seen))
    stain = density[:, :, 1] - np.minimum(density[:, :, 0], density[:, :, 2])
    found = seen & (stain > STAIN_OD) & ~_black_ink(density)
    found = _without_specks(found)
    if not found.any() or not _separate(stain, found, seen):
        return np.zeros(seen.shape, np.bool_)
    return found


def void_free(thumbnail: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where anything was scanned: not black."""
    return np.asarray(thumbnail.max(axis=2) >= VOID_LEVEL)


def is_dark_field(thumbnail: NDArray[np.uint8], seen: NDArray[np.bool_]) -> bool:
    """Whether most of what was seen is nearly black: fluorescence or a label mask."""
    light = np.median(thumbnail[seen].astype(np.float32).mean(axis=1)) if seen.any() else 0.0
    return bool(light < 255 * np.exp(-_DARK_OD))


def glass_colour(image: NDArray[np.uint8], seen: NDArray[np.bool_]) -> NDArray[np.float32]:
    """RGB of the glass, 0 to 255; pure white when too little of the picture can be glass."""
    low, high = image.min(axis=2).astype(np.int16), image.max(axis=2).astype(np.int16)
    bright = image[seen & (low > _GLASS_LEVEL) & (high - low < _GLASS_CHROMA)]
    if len(bright) < _ENOUGH_GLASS * image.shape[0] * image.shape[1]:
        return np.full(3, 255, np.float32)
    lightness = bright.sum(axis=1, dtype=np.int32)
    return np.asarray(np.median(bright[lightness >= np.median(lightness)], axis=0), np.float32)


def _optical_density(image: NDArray[np.uint8], glass: NDArray[np.float32]) -> NDArray[np.float32]:
    """Natural-logarithm density against the glass, (height, width, 3)."""
    table = np.arange(256, dtype=np.float32)[:, None].clip(1) / glass.clip(1)
    density = -np.log(table)  # (256, channel)
    return np.stack([density[image[:, :, c], c] for c in range(3)], axis=2)


def _black_ink(density: NDArray[np.float32]) -> NDArray[np.bool_]:
    middle = density.mean(axis=2)
    colour = density.max(axis=2) - density.min(axis=2)
    return np.asarray((middle > _INK_OD) & (colour < _INK_COLOUR * middle))


def _without_specks(found: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Close one-pixel gaps and drop what is too small to be a section."""
    closed = cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    _, names, numbers, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    large = numbers[:, cv2.CC_STAT_AREA] >= max(SMALLEST_PX, SMALLEST_PART * found.size)
    large[0] = False
    return np.asarray(large[names])


def _separate(
    stain: NDArray[np.float32], found: NDArray[np.bool_], seen: NDArray[np.bool_]
) -> bool:
    """Whether the two classes differ, or all of it is clearly stained."""
    rest = seen & ~found
    beside = float(stain[rest].mean()) if rest.any() else 0.0
    return float(stain[found].mean()) - beside >= SEPARATION_OD


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
