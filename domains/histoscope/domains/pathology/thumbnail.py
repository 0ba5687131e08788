"""A small picture of a whole slide, read block by block so that damage stays local."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histoscope.domains.pathology.readers.base import WHITE, Pyramid, RegionFault
from histoscope.domains.pathology.resample import resample
from histoscope.domains.pathology.tiling import Box

_BLOCK_PX = 1024
_SMALLEST_BLOCK_PX = 128


@dataclass(frozen=True)
class Thumbnail:
    """The whole canvas of level 0, small.

    Attributes:
        image: uint8, (height, width, 3).
        valid: bool, (height, width); False where the scanner saw nothing.
        readable: bool, (height, width); False where pixels could not be read (white there).
        ratio: level-0 px per thumbnail px, x and y.
    """

    image: NDArray[np.uint8]
    valid: NDArray[np.bool_]
    readable: NDArray[np.bool_]
    ratio: tuple[float, float]


def make_thumbnail(pyramid: Pyramid, size: tuple[int, int]) -> Thumbnail:
    """Read the coarsest level that is no smaller than ``size`` and area-average it.

    Args:
        pyramid: an open slide.
        size: width and height of the thumbnail, px; never larger than level 0.
    """
    levels = pyramid.levels
    fine = [n for n, (w, h) in enumerate(levels) if w >= size[0] and h >= size[1]]
    level = max(fine, key=lambda n: levels[0][0] / levels[n][0]) if fine else 0
    width, height = size
    image = np.full((height, width, 3), WHITE, np.uint8)
    valid, readable = np.ones((2, height, width), np.bool_)
    step = max(1, int(_BLOCK_PX * width / levels[level][0]))
    out = Thumbnail(image, valid, readable, (levels[0][0] / width, levels[0][1] / height))
    for block in _blocks(Box(0, 0, width, height), step, step):
        _fill(pyramid, level, out, block)
    return out


def _fill(pyramid: Pyramid, level: int, out: Thumbnail, block: Box) -> None:
    """Read one block; on a fault its quarters, down to a smallest size that stays unread."""
    window = (slice(block.y, block.y + block.height), slice(block.x, block.x + block.width))
    ratio_x = pyramid.levels[level][0] / out.image.shape[1]
    ratio_y = pyramid.levels[level][1] / out.image.shape[0]
    x, y = block.x * ratio_x, block.y * ratio_y
    width, height = block.width * ratio_x, block.height * ratio_y
    right = min(pyramid.levels[level][0], int(np.ceil(x + width - 1e-6)))
    bottom = min(pyramid.levels[level][1], int(np.ceil(y + height - 1e-6)))
    box = Box(int(x), int(y), right - int(x), bottom - int(y))
    try:
        region = pyramid.read(level, box)
    except RegionFault:
        if max(box.width, box.height) <= _SMALLEST_BLOCK_PX or block.width * block.height == 1:
            out.readable[window] = False
            return
        for part in _blocks(block, max(1, block.width // 2), max(1, block.height // 2)):
            _fill(pyramid, level, out, part)
        return
    place = (x - region.x, y - region.y, width, height, (block.width, block.height))
    out.image[window] = resample(region.image, *place)
    if region.valid is not None:
        seen = np.repeat(region.valid[:, :, None].astype(np.uint8) * 255, 3, axis=2)
        out.valid[window] = resample(seen, *place)[:, :, 0] >= 128


def _blocks(box: Box, wide: int, tall: int) -> Iterator[Box]:
    """A box in parts, row by row; the last of a row and the last row may be smaller."""
    right, bottom = box.x + box.width, box.y + box.height
    for top in range(box.y, bottom, tall):
        for left in range(box.x, right, wide):
            yield Box(left, top, min(wide, right - left), min(tall, bottom - top))


def thumbnail_size(
    pyramid: Pyramid, mpp: tuple[float, float], wanted_um: float, longest_px: int
) -> tuple[int, int]:
    """Width and height near ``wanted_um`` per px, no side above ``longest_px`` or level 0."""
    width, height = pyramid.levels[0]
    shrink_x, shrink_y = max(1.0, wanted_um / mpp[0]), max(1.0, wanted_um / mpp[1])
    extra = max(1.0, width / shrink_x / longest_px, height / shrink_y / longest_px)
    return max(1, round(width / shrink_x / extra)), max(1, round(height / shrink_y / extra))
