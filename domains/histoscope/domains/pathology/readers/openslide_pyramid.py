"""Slides through OpenSlide.

Two traps are dealt with here. One damaged tile makes every later read on the same handle fail,
so the handle is opened again after a fault. And OpenSlide takes level-0 positions as whole
numbers: on a level whose downsample is 2.0005 a read begins up to half a level-0 pixel beside a
whole pixel of the level and is blended bilinearly there. The region says where it truly lies, so
tiles stay where their coordinates say; what is left is a blur below half a level-0 pixel. Measured
against the level's own pixels on a real slide (2.0005, JPEG 2000, 398 tiles): mean 1.0 to 1.5 grey
values, 99 % within 5 to 9. Level 0 and whole-number downsamples are exact.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import openslide

from histoscope.core.contracts import Scalar
from histoscope.domains.pathology.readers.base import (
    WHITE,
    Region,
    RegionFault,
    on_background,
    words_of,
)
from histoscope.domains.pathology.tiling import Box

UNBLENDED = 1 / 512  # px; nearer to a whole pixel of a level nothing is blended
SPREAD = 3  # places along an axis


class OpenSlidePyramid:
    """A slide that OpenSlide opens.

    Args:
        path: the file OpenSlide is given.

    Raises:
        openslide.OpenSlideError: it does not open.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._slide = openslide.OpenSlide(str(path))
        properties = self._slide.properties
        self.levels: Sequence[tuple[int, int]] = list(self._slide.level_dimensions)
        self._averaged = [float(value) for value in self._slide.level_downsamples]
        self._background = _colour(properties.get("openslide.background-color"))
        x_um = _number(properties.get(openslide.PROPERTY_NAME_MPP_X))
        y_um = _number(properties.get(openslide.PROPERTY_NAME_MPP_Y))
        self.mpp = None if x_um is None or y_um is None else (x_um, y_um)
        self.scale_fault = self.said = ""
        self.scanned = _bounds(properties, self.levels[0])
        self.facts: Mapping[str, Scalar] = {
            "reader": "openslide",
            "vendor": properties.get(openslide.PROPERTY_NAME_VENDOR, "unknown"),
            "objective_power": _number(properties.get(openslide.PROPERTY_NAME_OBJECTIVE_POWER)),
        }

    def read(self, level: int, box: Box) -> Region:
        """See :class:`~.base.Pyramid`."""
        factor = self._averaged[level]
        margin = 0 if factor == round(factor) else 1
        left, top = max(0, box.x - margin), max(0, box.y - margin)
        right = min(self.levels[level][0], box.x + box.width + margin)
        bottom = min(self.levels[level][1], box.y + box.height + margin)
        at = round(left * factor), round(top * factor)
        try:
            rgba = np.asarray(self._slide.read_region(at, level, (right - left, bottom - top)))
        except openslide.OpenSlideError as fault:
            self._slide.close()
            self._slide = openslide.OpenSlide(str(self._path))
            raise RegionFault(words_of(fault, self._path)) from None
        image, seen = on_background(rgba, self._background)
        return Region(image, seen, at[0] / factor, at[1] / factor)

    def unblended(self, level: int, side: int) -> list[Box]:
        """Boxes spread over a level that begin where a whole level-0 pixel does, cut to it."""
        factor, (width, height) = self._averaged[level], self.levels[level]
        margin = 0 if factor == round(factor) else 1
        starts = []
        for extent in (width, height):
            inside = np.arange(max(1, extent - side - margin))
            away = np.abs(inside * factor - np.rint(inside * factor)) / factor
            whole = inside[away < UNBLENDED]
            some = np.unique(np.linspace(0, len(whole) - 1, SPREAD).round().astype(int))
            starts.append([int(one) + margin * (one > 0) for one in whole[some]])
        return [
            Box(x, y, min(side, width - x), min(side, height - y))
            for x, y in itertools.product(*starts)
        ]

    def close(self) -> None:
        """Let the file go."""
        self._slide.close()


def _colour(text: str | None) -> tuple[int, int, int]:
    if text is None or not re.fullmatch(r"#?[0-9A-Fa-f]{6}", text):
        return WHITE
    red, green, blue = bytes.fromhex(text.removeprefix("#"))
    return red, green, blue


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _bounds(properties: Mapping[str, str], size: tuple[int, int]) -> Box:
    """The scanned box (MIRAX, Leica, sparse TIFF), cut to the canvas; all of it by default."""
    names = ("x", "y", "width", "height")
    found = [_number(properties.get(f"openslide.bounds-{name}")) for name in names]
    x, y = int(found[0] or 0), int(found[1] or 0)
    x, y = min(max(0, x), size[0] - 1), min(max(0, y), size[1] - 1)
    width = min(int(found[2] or size[0]), size[0] - x)
    height = min(int(found[3] or size[1]), size[1] - y)
    return Box(x, y, width, height)
