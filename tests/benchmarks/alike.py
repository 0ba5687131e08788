"""Slides of any size in which every tile is the same few bytes of the file."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from histoscope.domains.pathology.phantom.sections import make_section

MPP = 0.5
SHORT, LONG, RATIONAL, LONG8 = 3, 4, 5, 16
PACKED = {SHORT: "H", LONG: "I", LONG8: "Q"}
Tag = tuple[int, int, Sequence[int]]


def tissue_tile(tile: int) -> NDArray[np.uint8]:
    """A tile that is tissue everywhere, from the middle of a piece of the phantom."""
    section = make_section(0, 0, 2048)
    inside = np.argwhere(section.truth[tile:-tile, tile:-tile] > 0)
    y, x = inside[len(inside) // 3] + tile - tile // 2
    return np.ascontiguousarray(section.pixels[y : y + tile, x : x + tile])


def write_alike(path: Path, side: int, tile: int, levels: int, pixels: NDArray[np.uint8]) -> None:
    """A BigTIFF pyramid of JPEG tiles, all of which are one.

    Args:
        path: of the file.
        side: width and height of level 0, px.
        tile: side of a tile, px.
        levels: each half as large as the one before.
        pixels: of the tile.
    """
    data = simplejpeg.encode_jpeg(pixels, quality=80, colorsubsampling="420")
    with path.open("wb") as file:
        file.write(b"II" + struct.pack("<HHHQ", 43, 8, 0, 16 + len(data) + len(data) % 2))
        file.write(data + b"\0" * (len(data) % 2))
        for level in range(levels):
            _write_level(file, _tags(side >> level, tile, len(data), level), level == levels - 1)


def _tags(side: int, tile: int, count: int, level: int) -> list[Tag]:
    tiles = (-(-side // tile)) ** 2
    per_cm = (round(1e4 / MPP), 2**level)
    return [
        (254, LONG, [int(level > 0)]),  # NewSubfileType
        (256, LONG, [side]),
        (257, LONG, [side]),
        (258, SHORT, [8, 8, 8]),
        (259, SHORT, [7]),  # Compression: JPEG
        (262, SHORT, [6]),  # PhotometricInterpretation: YCbCr
        (277, SHORT, [3]),
        (282, RATIONAL, per_cm),
        (283, RATIONAL, per_cm),
        (284, SHORT, [1]),
        (296, SHORT, [3]),  # ResolutionUnit: centimetre
        (322, LONG, [tile]),
        (323, LONG, [tile]),
        (324, LONG8, [16] * tiles),  # TileOffsets
        (325, LONG, [count] * tiles),
        (530, SHORT, [2, 2]),
    ]


def _write_level(file: BinaryIO, tags: Sequence[Tag], last: bool) -> None:
    """A directory and behind it the values that do not fit into its entries."""
    start = file.tell()
    behind = start + 8 + 20 * len(tags) + 8
    entries, values = [], b""
    for code, kind, numbers in tags:
        packed = struct.pack(f"<{len(numbers)}{PACKED.get(kind, 'I')}", *numbers)
        count = len(numbers) // 2 if kind == RATIONAL else len(numbers)
        place = packed.ljust(8, b"\0") if len(packed) <= 8 else struct.pack("<Q", behind)
        if len(packed) > 8:
            packed += b"\0" * (-len(packed) % 8)
            values, behind = values + packed, behind + len(packed)
        entries.append(struct.pack("<HHQ", code, kind, count) + place)
    following = 0 if last else behind
    file.write(
        struct.pack("<Q", len(tags)) + b"".join(entries) + struct.pack("<Q", following) + values
    )
