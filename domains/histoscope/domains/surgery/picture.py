"""From a decoded frame to the image that a store holds, and what is measured on it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
SMALL_PX = 32
SURROUND_LEVEL = 20  # brightest channel of the black surround, compression noise included
SMALLEST_FIELD = 0.3  # of the picture's side; less is a dark frame, not a field


@dataclass(frozen=True)
class Field:
    """The box of the field of view, px of the picture: left, top, right, bottom."""

    left: int
    top: int
    right: int
    bottom: int

    def cut(self, picture: Picture) -> Picture:
        """The part inside."""
        return picture[self.top : self.bottom, self.left : self.right]


def find_field(pictures: list[Picture]) -> Field | None:
    """The box around what is mostly brighter than the surround; None when there is none."""
    if not pictures:
        return None
    seen = np.median([picture.max(axis=2) for picture in pictures], axis=0) > SURROUND_LEVEL
    rows, columns = (np.flatnonzero(seen.mean(axis=axis) > 0.02) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return None
    box = Field(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    height, width = seen.shape
    if min((box.right - box.left) / width, (box.bottom - box.top) / height) < SMALLEST_FIELD:
        return None
    return box


def to_square(picture: Picture, size_px: int) -> Picture:
    """Resize to (size_px, size_px), by area where it shrinks; the sides' ratio is given up."""
    height, width = picture.shape[:2]
    if (height, width) == (size_px, size_px):
        return np.ascontiguousarray(picture)
    shrinks = height >= size_px and width >= size_px
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (size_px, size_px), interpolation=how), np.uint8)


def to_width(picture: Picture, width_px: int) -> Picture:
    """Shrink by area until it is so wide; a narrower one is as it is."""
    height, width = picture.shape[:2]
    if width <= width_px:
        return picture
    size = (width_px, max(1, round(height * width_px / width)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


class Measured:
    """Numbers on each image of a video in turn; keeps a thumbnail of the one before.

    ``brightness``: mean grey, 0 to 255. ``difference``: mean absolute difference to the image
    before, grey levels; absent on the first. ``redness``: red as a part of all light inside the
    field, one third on grey.
    """

    def __init__(self) -> None:
        self._before: NDArray[np.float32] | None = None

    def measure(self, image: Picture) -> dict[str, float]:
        """Of the next image, uint8 (height, width, 3)."""
        shape = (SMALL_PX, SMALL_PX)
        small = cv2.resize(image, shape, interpolation=cv2.INTER_AREA).astype(np.float32)
        light = small.sum(axis=2)
        lit = light > 3 * SURROUND_LEVEL
        out = {"brightness": float(small.mean())}
        if lit.any():
            out["redness"] = float(small[lit, 0].sum() / light[lit].sum())
        if self._before is not None:
            out["difference"] = float(np.abs(small - self._before).mean())
        self._before = small
        return out
