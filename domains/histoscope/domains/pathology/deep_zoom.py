"""A slide as small pictures of every scale (Deep Zoom Image), which pages open without a server.

The finest level is read from the slide; each picture of the next is four of the one before, halved.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray

from histoscope.core.contracts import CorruptSample, Reader, Zoom
from histoscope.core.errors import UnreadableSource
from histoscope.core.files import plain_path, write_text
from histoscope.domains.pathology.canvas import GROUND
from histoscope.domains.pathology.slide_reader import SlideReader
from histoscope.domains.pathology.tiling import Box

TILE_PX = 512
QUALITY = 80
DESCRIPTION = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<Image xmlns="http://schemas.microsoft.com/deepzoom/2008" Format="jpg" Overlap="0" '
    'TileSize="{tile}"><Size Width="{width}" Height="{height}"/></Image>\n'
)


def write_deep_zoom(reader: Reader, out: Path, beat: Callable[[], None]) -> Zoom:
    """See :class:`histoscope.core.contracts.Zoomable`."""
    if not isinstance(reader, SlideReader):
        raise UnreadableSource("a labelled set, no slide")
    facts: Any = reader.facts
    width, height = size = int(facts["width_level0_px"]), int(facts["height_level0_px"])
    finest = math.ceil(math.log2(max(size)))
    files = out / "slide_files"
    missing = _read_finest(reader, size, files / str(finest), beat)
    for level in range(finest, 0, -1):
        size = -(-size[0] // 2), -(-size[1] // 2)
        _halve(files / str(level), size, files / str(level - 1), beat)
    about = DESCRIPTION.format(tile=TILE_PX, width=width, height=height)
    write_text(out / "slide.dzi", about)
    return Zoom(width, height, TILE_PX, finest + 1, float(facts["mpp_x"]), missing)


def _read_finest(
    reader: SlideReader, size: tuple[int, int], folder: Path, beat: Callable[[], None]
) -> int:
    """Write the pictures of level 0; how many could not be read, which are grey."""
    missing = 0
    for column, row, across, down in _grid(size):
        beat()
        image = reader.window(Box(column * TILE_PX, row * TILE_PX, across, down))
        if isinstance(image, CorruptSample):
            missing += 1
            image = np.full((down, across, 3), GROUND[0], np.uint8)
        _write(folder / f"{column}_{row}.jpg", image)
    return missing


def _halve(finer: Path, size: tuple[int, int], folder: Path, beat: Callable[[], None]) -> None:
    """Write a level of that size, width and height, from the one that is twice as fine."""
    for column, row, across, down in _grid(size):
        beat()
        parts = [
            [_read(finer / f"{2 * column + right}_{2 * row + below}.jpg") for right in (0, 1)]
            for below in (0, 1)
        ]
        rows = [
            np.concatenate([one for one in line if one is not None], axis=1)
            for line in parts
            if line[0] is not None
        ]
        whole = np.concatenate(rows, axis=0)
        small = cv2.resize(whole, (across, down), interpolation=cv2.INTER_AREA)
        _write(folder / f"{column}_{row}.jpg", cast(NDArray[np.uint8], small))


def _grid(size: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """Column, row, width and height of each picture of a level."""
    return [
        (
            column,
            row,
            min(TILE_PX, size[0] - column * TILE_PX),
            min(TILE_PX, size[1] - row * TILE_PX),
        )
        for row in range(-(-size[1] // TILE_PX))
        for column in range(-(-size[0] // TILE_PX))
    ]


def _write(path: Path, image: NDArray[np.uint8]) -> None:
    """One of many files, which count once the source's record is there."""
    with plain_path(path) as file:
        file.write_bytes(bytes(imagecodecs.jpeg8_encode(image, level=QUALITY)))


def _read(path: Path) -> NDArray[np.uint8] | None:
    return imagecodecs.jpeg8_decode(path.read_bytes()) if path.exists() else None
