"""One level of a TIFF as its own JPEG tiles, decoded with nothing between file and pixels.

The decoder is as strict as OpenSlide's: what it warns of is a damaged tile, not a grey one. Fast
transforms give other pixels, and are not used; so does scaling inside the decoder, which is asked
for only where a package was made with it.
"""

from __future__ import annotations

import io
import math
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np
import simplejpeg  # type: ignore[import-untyped]
from numpy.typing import NDArray

from histoscope.domains.pathology.readers.tiff_colours import JPEG, RGB, YCBCR
from histoscope.domains.pathology.tiling import Box

KEPT_BYTES = 256 * 2**20  # of decoded tiles, where two rows of them are no less
_START, _END = b"\xff\xd8", b"\xff\xd9"
# an Adobe marker whose last byte says what three components are: 0 RGB, 1 YCbCr. Aperio's RGB tiles
# have none, so that decoders take them for YCbCr
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"


def holds_jpeg_tiles(page: Any) -> bool:
    """Whether a page of tifffile is of 8-bit colour in tiles of JPEG."""
    return bool(
        page.is_tiled
        and int(page.compression) in JPEG
        and int(page.photometric) in (RGB, YCBCR)
        and page.samplesperpixel == 3
        and page.planarconfig == 1
        and page.dtype == np.uint8
        and page.tiledepth == 1
        and min(len(page.dataoffsets), len(page.databytecounts)) >= _tiles_of(page)
    )


def _tiles_of(page: Any) -> int:
    across, down = page.imagewidth / page.tilewidth, page.imagelength / page.tilelength
    return int(math.ceil(across) * math.ceil(down))


class JpegTiles:
    """Tiles of one level.

    Args:
        file: the open slide; nobody else moves its place meanwhile.
        page: of tifffile, that :func:`holds_jpeg_tiles`.
    """

    def __init__(self, file: io.BufferedIOBase, page: Any) -> None:
        self._file = file
        self._offsets, self.byte_counts = list(page.dataoffsets), list(page.databytecounts)
        self.wide, self.tall = int(page.tilewidth), int(page.tilelength)
        self.across = math.ceil(page.imagewidth / self.wide)
        rgb = int(page.photometric) == RGB
        self._colours = "RGB" if rgb else "YCbCr"  # as the decoder's head says it
        tables = (page.jpegtables or _START + _END)[len(_START) : -len(_END)]
        self._head = _START + _ADOBE + bytes([not rgb]) + tables
        self._kept = OrderedDict[tuple[int, int], NDArray[np.uint8]]()
        # of tiles that lie beside the file's, each row of these is needed twice
        self._most = min(2 * self.across + 8, KEPT_BYTES // (3 * self.wide * self.tall))

    def read(self, box: Box, factor: int = 1) -> NDArray[np.uint8] | None:
        """Pixels of a box, uint8, (height, width, 3); None where a tile is left out or damaged.

        A box inside one tile is a part of that tile, not to be written on.

        Args:
            box: px of the level.
            factor: 2, 4 or 8: the decoder makes them smaller by so much. Edges of the box and
                sides of a tile are multiples of it.
        """
        under = list(self._under(box))
        if len(under) == 1 and (box.width, box.height) == (self.wide, self.tall):
            return self._decoded(under[0][0], factor)  # nobody asks for it again
        out: NDArray[np.uint8] | None = None
        for index, x, y in under:
            tile = self._tile(index, factor)
            if tile is None:
                return None
            left, top = max(x, box.x), max(y, box.y)
            right = min(x + self.wide, box.x + box.width)
            lower = min(y + self.tall, box.y + box.height)
            part = tile[_part(top - y, lower - y, factor), _part(left - x, right - x, factor)]
            if len(under) == 1:
                return part
            if out is None:
                out = np.empty((box.height // factor, box.width // factor, 3), np.uint8)
            out[
                _part(top - box.y, lower - box.y, factor),
                _part(left - box.x, right - box.x, factor),
            ] = part
        return out

    def _under(self, box: Box) -> Iterator[tuple[int, int, int]]:
        """Number and upper left corner of each tile under a box."""
        columns = range(box.x // self.wide, (box.x + box.width - 1) // self.wide + 1)
        for row in range(box.y // self.tall, (box.y + box.height - 1) // self.tall + 1):
            for column in columns:
                yield row * self.across + column, column * self.wide, row * self.tall

    def _tile(self, index: int, factor: int) -> NDArray[np.uint8] | None:
        """A decoded tile, or None; those that were used last are kept."""
        tile = self._kept.get((index, factor))
        if tile is not None:
            self._kept.move_to_end((index, factor))
            return tile
        tile = self._decoded(index, factor)
        if tile is not None:
            self._kept[index, factor] = tile
            if len(self._kept) > self._most * factor * factor:  # of which each is so much smaller
                self._kept.popitem(last=False)
        return tile

    def _decoded(self, index: int, factor: int) -> NDArray[np.uint8] | None:
        if index >= len(self.byte_counts) or not self.byte_counts[index]:
            return None
        try:
            self._file.seek(self._offsets[index])
            data = self._head + self._file.read(self.byte_counts[index])[len(_START) :]
            tall, wide, colours, _ = simplejpeg.decode_jpeg_header(data)
            if (tall, wide, colours) != (self.tall, self.wide, self._colours):
                return None  # a tile of its own kind, or a damaged head that asks for gigabytes
            less = {"min_height": tall // factor, "min_width": wide // factor, "min_factor": 1}
            tile: NDArray[np.uint8] = simplejpeg.decode_jpeg(
                data, "RGB", fastdct=False, fastupsample=False, **(less if factor > 1 else {})
            )
        except (OSError, ValueError, MemoryError):
            return None
        tile.setflags(write=False)
        return tile if tile.shape[:2] == (tall // factor, wide // factor) else None


def _part(start: int, stop: int, factor: int) -> slice:
    return slice(start // factor, stop // factor)
