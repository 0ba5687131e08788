"""TIFF that OpenSlide cannot read fully, through tifffile: OME with SubIFD levels, odd codecs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray

from histoscope.core.contracts import Scalar
from histoscope.core.errors import UnreadableSource
from histoscope.domains.pathology.readers.base import Region, RegionFault, on_background, words_of
from histoscope.domains.pathology.tiling import Box

_UM_PER_UNIT = {"µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}
_UM_PER_TIFF_UNIT = {2: 25400.0, 3: 10000.0}  # inch, centimetre; 1 is "no unit"
_KEPT_SEGMENTS = 64
LARGEST_SEGMENT_PX = 200_000_000


class TiffPyramid:
    """A TIFF whose first series holds RGB or grey pixels of 8 bits.

    Args:
        path: the file.

    Raises:
        UnreadableSource: no TIFF, cut, more than 8 bits, channels apart, or stored in one piece
            that is too large.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._tiff = tifffile.TiffFile(path)
            largest = max(self._tiff.series, key=lambda one: int(np.prod(one.shape)))
            self._pages = [level.keyframe for level in largest.levels]  # finest first
        except (tifffile.TiffFileError, OSError, ValueError, IndexError, KeyError) as fault:
            raise UnreadableSource(f"not a whole TIFF file ({words_of(fault, path)})") from None
        try:
            for page in self._pages:
                _check(page)
        except UnreadableSource:
            self._tiff.close()
            raise
        self.levels: Sequence[tuple[int, int]] = [
            (page.imagewidth, page.imagelength) for page in self._pages
        ]
        self.mpp = _ome_mpp(self._tiff) or _tag_mpp(self._pages[0])
        self.scanned = Box(0, 0, *self.levels[0])
        self.facts: Mapping[str, Scalar] = {
            "reader": "tifffile",
            "vendor": "ome-tiff" if self._tiff.is_ome else "tiff",
            "objective_power": None,
        }
        self._segment = lru_cache(_KEPT_SEGMENTS)(self._decode)

    def read(self, level: int, box: Box) -> Region:
        """See :class:`~.base.Pyramid`."""
        page = self._pages[level]
        tall, wide = page.chunks[0], page.chunks[1]
        across = math.ceil(page.imagewidth / wide)
        out = np.zeros((box.height, box.width, 4), np.uint8)
        rows = range(box.y // tall, (box.y + box.height - 1) // tall + 1)
        columns = range(box.x // wide, (box.x + box.width - 1) // wide + 1)
        for row, column in itertools.product(rows, columns):
            segment = self._segment(level, row * across + column)
            if segment is not None:
                _paste(out, segment, column * wide - box.x, row * tall - box.y)
        image, seen = on_background(out)
        return Region(image, seen, box.x, box.y)

    def close(self) -> None:
        """Let the file go."""
        self._segment.cache_clear()
        self._tiff.close()

    def _decode(self, level: int, index: int) -> NDArray[np.uint8] | None:
        """One decoded tile or strip as RGBA, None when the file leaves it out."""
        page = self._pages[level]
        if page.databytecounts[index] == 0:
            return None
        try:
            self._tiff.filehandle.seek(page.dataoffsets[index])
            data = self._tiff.filehandle.read(page.databytecounts[index])
            decoded = page.decode(data, index, jpegtables=page.jpegtables)[0]
        except Exception as fault:
            raise RegionFault(words_of(fault, self._path)) from None
        if decoded is None:
            return None
        return _rgba(decoded[0], inverted=page.photometric == 0)


def _check(page: Any) -> None:
    if page.dtype != np.uint8:
        raise UnreadableSource(f"pixels of type {page.dtype}: not an 8-bit bright-field picture")
    if page.photometric not in (0, 1, 2, 6) or page.samplesperpixel not in (1, 3, 4):
        raise UnreadableSource(
            f"{page.samplesperpixel} channels, photometric {int(page.photometric)}: not RGB"
        )
    if page.planarconfig != 1 and page.samplesperpixel > 1:
        raise UnreadableSource("colour planes are stored apart; convert it to interleaved RGB")
    if math.prod(page.chunks[:2]) > LARGEST_SEGMENT_PX:
        raise UnreadableSource("too large to decode in one piece; convert it to a tiled pyramid")


def _rgba(segment: NDArray[np.uint8], *, inverted: bool) -> NDArray[np.uint8]:
    """Grey, RGB or RGBA (height, width, channels) to RGBA."""
    if segment.shape[2] == 4:
        return segment
    if inverted:
        segment = 255 - segment
    colour = np.broadcast_to(segment, (*segment.shape[:2], 3))
    return np.dstack([colour, np.full(segment.shape[:2], 255, np.uint8)])


def _paste(out: NDArray[np.uint8], piece: NDArray[np.uint8], x: int, y: int) -> None:
    """Copy the part of ``piece`` that falls into ``out`` when its corner lies at (x, y)."""
    left, top = max(0, x), max(0, y)
    right = min(out.shape[1], x + piece.shape[1])
    bottom = min(out.shape[0], y + piece.shape[0])
    if right > left and bottom > top:
        out[top:bottom, left:right] = piece[top - y : bottom - y, left - x : right - x]


def _ome_mpp(tiff: tifffile.TiffFile) -> tuple[float, float] | None:
    """PhysicalSizeX and Y of the largest image in the OME XML, um."""
    if not tiff.is_ome or not tiff.ome_metadata:
        return None
    try:
        root = ElementTree.fromstring(tiff.ome_metadata)  # noqa: S314 - expat bounds entities
    except ElementTree.ParseError:
        return None
    found = [item for item in root.iter() if item.tag.rpartition("}")[2] == "Pixels"]
    if not found:
        return None
    pixels = max(found, key=lambda item: int(item.get("SizeX", "0")))
    sizes = []
    for axis in ("X", "Y"):
        unit = _UM_PER_UNIT.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        text = pixels.get(f"PhysicalSize{axis}")
        if text is None or unit is None:
            return None
        sizes.append(float(text) * unit)
    return sizes[0], sizes[1]


def _tag_mpp(page: Any) -> tuple[float, float] | None:
    """Resolution tags with a unit, as um per pixel."""
    um = _UM_PER_TIFF_UNIT.get(int(page.tags.valueof("ResolutionUnit", 1)))
    sizes = []
    for axis in ("X", "Y"):
        above, below = page.tags.valueof(f"{axis}Resolution", (0, 1))
        if um is None or above == 0 or below == 0:
            return None
        sizes.append(um * below / above)
    return sizes[0], sizes[1]
