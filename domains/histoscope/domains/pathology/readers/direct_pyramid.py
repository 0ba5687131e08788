"""Slides whose levels are JPEG tiles of a TIFF, read without OpenSlide where that gives the same.

OpenSlide spends most of its time between a decoded tile and the region that it hands out. Which
level is read directly is found out when it is first asked for: places spread over it, and the tiles
that hold most, must be to the grey value what OpenSlide makes of them. What differs, and any region
in which a tile is left out or damaged, is read by OpenSlide.

A level whose downsample is no whole number OpenSlide blends (see ``openslide_pyramid``), but for
places whose corner falls on a whole pixel of both; these must be equal, elsewhere the level's own
pixels are read, which need no blending.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from histoscope.core.contracts import Scalar
from histoscope.domains.pathology.readers.base import Pyramid, Region, RegionFault
from histoscope.domains.pathology.readers.jpeg_tiles import JpegTiles, holds_jpeg_tiles
from histoscope.domains.pathology.readers.openslide_pyramid import UNBLENDED, OpenSlidePyramid
from histoscope.domains.pathology.readers.tiff_images import DAMAGED
from histoscope.domains.pathology.tiling import Box

READER = "jpeg tiles"
VENDORS = ("aperio", "generic-tiff", "huron", "philips")  # tiles side by side from the corner on
LOOKED_AT = 4  # tiles that hold most
UNBLENDED_PX = 64  # side of places that OpenSlide does not blend
BLENDED = 4.0  # mean difference, grey values: what blending makes is 1.0 to 1.5


def with_own_tiles(slide: OpenSlidePyramid, path: Path) -> Pyramid:
    """The slide, read directly where some level of it may be."""
    if slide.facts["vendor"] not in VENDORS:
        return slide
    with ExitStack() as closed:
        try:
            tiff = closed.enter_context(tifffile.TiffFile(path))
            pages = [_page_of(tiff, size) for size in slide.levels]
            if any(pages):
                file = closed.enter_context(path.open("rb"))
                tiles = [page and JpegTiles(file, page) for page in pages]
                return DirectPyramid(slide, tiles, closed.pop_all())
        except DAMAGED:
            pass  # OpenSlide reads it, or says why not
    return slide


def _page_of(tiff: tifffile.TiffFile, size: tuple[int, int]) -> Any:
    """The smallest page of JPEG tiles that holds a level, padded by less than a tile."""
    fitting = [
        page
        for page in tiff.pages
        if isinstance(page, tifffile.TiffPage)
        and holds_jpeg_tiles(page)
        and 0 <= page.imagewidth - size[0] < page.tilewidth
        and 0 <= page.imagelength - size[1] < page.tilelength
    ]
    return min(fitting, key=lambda page: page.imagewidth, default=None)


class DirectPyramid:
    """A slide of which some levels are read directly.

    Args:
        slide: the same, through OpenSlide; closed with this one.
        tiles: of each level, None where it has none.
        files: what is open besides.
    """

    def __init__(
        self, slide: OpenSlidePyramid, tiles: Sequence[JpegTiles | None], files: ExitStack
    ) -> None:
        self._slide, self._tiles, self._files = slide, tiles, files
        self._same = dict[int, bool]()
        self.levels, self.mpp = slide.levels, slide.mpp
        self.scale_fault, self.said, self.scanned = slide.scale_fault, slide.said, slide.scanned

    @property
    def facts(self) -> Mapping[str, Scalar]:
        """As OpenSlide's; ``reader`` says how the level that was read first is read."""
        direct = next(iter(self._same.values()), False)
        return {**self._slide.facts, **({"reader": READER} if direct else {})}

    def read(self, level: int, box: Box) -> Region:
        """See :class:`~.base.Pyramid`."""
        tiles = self._tiles[level]
        if tiles is not None and self._is_same(level, tiles):
            image = tiles.read(box)
            if image is not None:
                return Region(image, None, box.x, box.y)
        return self._slide.read(level, box)

    def halves(self, level: int, factor: int) -> bool:
        """See :class:`~.base.Halving`: where the level's own pixels are OpenSlide's."""
        tiles = self._tiles[level]
        whole = tiles is not None and not (tiles.wide % factor or tiles.tall % factor)
        return tiles is not None and whole and self._is_same(level, tiles)

    def halved(self, level: int, factor: int, box: Box) -> NDArray[np.uint8] | None:
        """See :class:`~.base.Halving`."""
        tiles = self._tiles[level]
        return None if tiles is None else tiles.read(box, factor)

    def close(self) -> None:
        """Let the files go."""
        self._files.close()
        self._slide.close()

    def _is_same(self, level: int, tiles: JpegTiles) -> bool:
        if level not in self._same:
            places = self._slide.unblended(level, UNBLENDED_PX)
            exact = [self._agrees(level, tiles, box) for box in places]
            boxes = _fullest(tiles, self.levels[level])
            found = [*exact, *(self._agrees(level, tiles, box) for box in boxes)]
            self._same[level] = False not in found and True in exact
        return self._same[level]

    def _agrees(self, level: int, tiles: JpegTiles, box: Box) -> bool | None:
        """Whether both give the same of a box; None where one gives nothing."""
        own = tiles.read(box)
        try:
            theirs = self._slide.read(level, box)
        except RegionFault:
            return None
        if own is None:
            return None
        corner = box.x - theirs.x, box.y - theirs.y
        away = [abs(at - round(at)) for at in corner]
        left, top = map(round, corner)
        image = theirs.image[top : top + box.height, left : left + box.width]
        if image.shape != own.shape:
            return None
        return _difference(own, image) <= (0 if max(away) < UNBLENDED else BLENDED)


def _fullest(tiles: JpegTiles, size: tuple[int, int]) -> list[Box]:
    """The tiles that hold most, each cut to the level."""
    most = sorted(range(len(tiles.byte_counts)), key=lambda one: -tiles.byte_counts[one])
    found = []
    for index in most[:LOOKED_AT]:
        x, y = index % tiles.across * tiles.wide, index // tiles.across * tiles.tall
        width, height = min(tiles.wide, size[0] - x), min(tiles.tall, size[1] - y)
        if width > 0 and height > 0:
            found.append(Box(x, y, width, height))
    return found


def _difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(np.int16) - other).mean())
