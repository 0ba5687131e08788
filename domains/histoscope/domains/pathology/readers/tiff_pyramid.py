"""TIFF that OpenSlide does not read, or not rightly, through tifffile.

OME-TIFF with levels in SubIFDs, stacks of planes, colours in pages or planes of their own, strips,
and samples that are no 8-bit RGB.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from histoscope.core.contracts import Scalar
from histoscope.core.errors import UnreadableSource
from histoscope.domains.pathology.readers.base import Region, RegionFault, on_background, words_of
from histoscope.domains.pathology.readers.jpeg_damage import jpeg_damage
from histoscope.domains.pathology.readers.tiff_colours import JPEG, WRITE_RGB, Colours, colours_of
from histoscope.domains.pathology.readers.tiff_images import (
    DAMAGED,
    TiffImage,
    images_of,
    scans_of,
)
from histoscope.domains.pathology.tiling import Box
from histoscope.domains.pathology.tissue import is_dark_field

_KEPT_SEGMENTS = 64
_LOOKED_AT = 16  # segments that tell bright from dark, and how many bits are used
LARGEST_SEGMENT_PX = 200_000_000
TOO_LARGE = "too large to decode in one piece; convert it to a tiled pyramid"


class TiffPyramid:
    """One image of a TIFF file.

    Args:
        path: the file.
        image: its number, None takes the first scan.
        plane: which of a stack, from 1; None takes the middle one.

    Raises:
        UnreadableSource: no TIFF, cut, no bright-field RGB, or stored in one piece that is too
            large.
    """

    def __init__(self, path: Path, image: int | None = None, plane: int | None = None) -> None:
        self._path = path
        self._segment = lru_cache(_KEPT_SEGMENTS)(self._decode)
        with ExitStack() as closed_on_fault:
            try:
                self._tiff = closed_on_fault.enter_context(tifffile.TiffFile(path))
                images = images_of(self._tiff)
                self._image = _chosen(images, image)
                self._plane = _chosen_plane(self._image, plane)
                self._check_segments()
                self._colours: Colours = colours_of(self._image, self._largest_sample)
                if self._colours.doubtful:
                    self._check_bright()
            except DAMAGED as fault:
                raise UnreadableSource(f"not a whole TIFF file ({words_of(fault, path)})") from None
            closed_on_fault.pop_all()
        pages = self._image.keyframes
        self.levels: Sequence[tuple[int, int]] = [(p.imagewidth, p.imagelength) for p in pages]
        self.mpp, self.scale_fault = self._image.stated.mpp, self._image.stated.fault
        self.scanned = Box(0, 0, *self.levels[0])
        self.said = self._say_plane()
        self.facts: Mapping[str, Scalar] = {
            "reader": "tifffile",
            "vendor": "ome-tiff" if self._tiff.is_ome else "tiff",
            "objective_power": None,
            **({"image": self._image.number, "images": len(images)} if len(images) > 1 else {}),
            **({"plane": self._plane + 1, "planes": self._image.planes} if self.said else {}),
        }

    def read(self, level: int, box: Box) -> Region:
        """See :class:`~.base.Pyramid`."""
        page = self._image.keyframes[level]
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
        samples = self._samples(level, index)
        if samples is None:
            return None
        try:
            return self._colours(samples)
        except (IndexError, ValueError):
            raise RegionFault("its samples are not what the file says of them") from None

    def _samples(self, level: int, index: int) -> NDArray[Any] | None:
        """One tile or strip as the file has it, (height, width, samples)."""
        parts = [self._part(level, *one) for one in self._places(level, index)]
        if all(part is None for part in parts):
            return None
        if any(part is None for part in parts):
            raise RegionFault("one of its colours is left out")
        whole = [part for part in parts if part is not None]
        return whole[0] if len(whole) == 1 else np.concatenate(whole, axis=2)

    def _places(self, level: int, index: int) -> Iterator[tuple[Any, int]]:
        """Pages, and the index in each, of what makes one tile or strip."""
        keyframe = self._image.keyframes[level]
        apart = keyframe.samplesperpixel if keyframe.planarconfig == 2 else 1
        for page in self._image.levels[level][self._plane]:
            step = len(page.dataoffsets) // apart
            yield from ((page, sample * step + index) for sample in range(apart))

    def _part(self, level: int, page: Any, index: int) -> NDArray[Any] | None:
        if index >= min(len(page.databytecounts), len(page.dataoffsets)):
            raise RegionFault("its list of tiles is too short")
        try:
            if page.databytecounts[index] == 0:
                return None
            self._tiff.filehandle.seek(page.dataoffsets[index])
            data = self._tiff.filehandle.read(page.databytecounts[index])
            keyframe = self._image.keyframes[level]
            if int(keyframe.compression) in JPEG and (
                said := jpeg_damage(data, page.jpegtables or b"")
            ):
                raise RegionFault(said)
            decoded = keyframe.decode(data, index, jpegtables=page.jpegtables)[0]
        except Exception as fault:
            raise RegionFault(words_of(fault, self._path)) from None
        return None if decoded is None else np.asarray(decoded[0])

    def _check_segments(self) -> None:
        for page in self._image.keyframes:
            if not math.prod(page.chunks[:2]):
                raise UnreadableSource("not a whole TIFF file (its tiles are of no size)")
            if math.prod(page.chunks[:2]) > LARGEST_SEGMENT_PX:
                raise UnreadableSource(TOO_LARGE)

    def _some(self) -> Iterator[NDArray[Any]]:
        """Samples of tiles or strips that are spread over the coarsest level."""
        level = len(self._image.levels) - 1
        keyframe = self._image.keyframes[level]
        apart = keyframe.samplesperpixel if keyframe.planarconfig == 2 else 1
        count = len(self._image.levels[level][self._plane, 0].dataoffsets) // apart
        for index in np.unique(np.linspace(0, count - 1, min(count, _LOOKED_AT)).astype(int)):
            try:
                samples = self._samples(level, int(index))
            except RegionFault:
                continue
            if samples is not None:
                yield samples

    def _largest_sample(self) -> int:
        return max((int(samples.max(initial=0)) for samples in self._some()), default=0)

    def _check_bright(self) -> None:
        """Refuse channels whose names do not tell and whose picture is dark."""
        seen = [self._colours(samples)[:, :, :3].reshape(-1, 3) for samples in self._some()]
        pixels = np.concatenate([np.zeros((0, 3), np.uint8), *seen])[None]
        if is_dark_field(pixels, np.ones(pixels.shape[:2], np.bool_)):
            raise UnreadableSource(f"a dark picture: fluorescence, not RGB; {WRITE_RGB}")

    def _say_plane(self) -> str:
        if self._image.planes < 2:
            return ""
        return (
            f"plane {self._plane + 1} of {self._image.planes} is read "
            f"({self._image.stack_words}); --plane takes another"
        )


def _chosen(images: Sequence[TiffImage], number: int | None) -> TiffImage:
    if number is None:
        return scans_of(images).images[0]
    for image in images:
        if image.number == number:
            return image
    raise UnreadableSource(f"image {number} of the file is there no more")


def _chosen_plane(image: TiffImage, plane: int | None) -> int:
    """Index of the plane; of a picture without planes its only one, whatever was asked for."""
    if plane is None or image.planes < 2:
        return image.planes // 2
    if plane > image.planes:
        raise UnreadableSource(f"--plane {plane}: it has {image.planes} ({image.stack_words})")
    return plane - 1


def _paste(out: NDArray[np.uint8], piece: NDArray[np.uint8], x: int, y: int) -> None:
    """Copy the part of ``piece`` that falls into ``out`` when its corner lies at (x, y)."""
    left, top = max(0, x), max(0, y)
    right = min(out.shape[1], x + piece.shape[1])
    bottom = min(out.shape[0], y + piece.shape[0])
    if right > left and bottom > top:
        out[top:bottom, left:right] = piece[top - y : bottom - y, left - x : right - x]
