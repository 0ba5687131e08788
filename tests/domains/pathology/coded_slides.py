"""Slides whose pixels say where they are, and on which level, in every format written here.

A writer takes a path without suffix, pixels level by level, and um per pixel; it returns what a
reader has to see, which is more than was written where a scan lies on a larger canvas.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Mpp = tuple[float, float]

SIZE, STEP = (704, 576), 4  # 11 x 9 blocks of 64 px; a level is a quarter of the one before
BLOCK_PX, GREYS = 16, 8  # what JPEG keeps: blocks of one of eight values that lie 28 apart
WHITE = 255


@dataclass(frozen=True)
class Coded:
    """A slide that was written.

    Attributes:
        path: of the file.
        levels: pixels of the whole canvas, level by level.
        scanned: left, top, width and height of the scan, level-0 px.
        options: without which it cannot be read.
    """

    path: Path
    levels: Sequence[Pixels]
    scanned: tuple[int, int, int, int]
    options: dict[str, Any]


Writer = Callable[[Path, Sequence[Pixels], Mpp], Coded]


def every_pixel(size: tuple[int, int], level: int) -> Pixels:
    """A colour that no other pixel of any level has; up to 4096 px a side."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    code = np.stack([x & 255, y & 255, (x >> 8) | (y >> 8) << 3 | level << 6], axis=2)
    return np.ascontiguousarray(code.astype(np.uint8))


def blocks(size: tuple[int, int], level: int, grey: bool) -> Pixels:
    """Blocks that JPEG leaves as they are; their neighbours tell where they lie."""
    shape = (size[1] // BLOCK_PX, size[0] // BLOCK_PX, 1 if grey else 3)
    drawn = np.random.default_rng(100 + level).integers(0, GREYS, shape) * 28 + 30
    whole = np.kron(drawn, np.ones((BLOCK_PX, BLOCK_PX, 1)))
    return np.ascontiguousarray(np.broadcast_to(whole, (size[1], size[0], 3)).astype(np.uint8))


def levels_of(kind: str, count: int = 2) -> list[Pixels]:
    """Pixels of a pyramid: ``pixels``, ``grey`` blocks or ``colour`` blocks."""
    sizes = [(SIZE[0] // STEP**n, SIZE[1] // STEP**n) for n in range(count)]
    if kind == "pixels":
        return [every_pixel(size, level) for level, size in enumerate(sizes)]
    return [blocks(size, level, kind == "grey") for level, size in enumerate(sizes)]


def whole(path: Path, levels: Sequence[Pixels], **options: Any) -> Coded:
    """What was written is the canvas."""
    return Coded(path, levels, (0, 0, levels[0].shape[1], levels[0].shape[0]), options)


def resolution(mpp: Mpp) -> dict[str, Any]:
    """Resolution tags."""
    return {"resolution": (1e4 / mpp[0], 1e4 / mpp[1]), "resolutionunit": "CENTIMETER"}


def placed(pixels: Pixels, canvas: tuple[int, int], x: int, y: int) -> Pixels:
    """Pixels on a white canvas of a width and a height."""
    out = np.full((canvas[1], canvas[0], 3), WHITE, np.uint8)
    out[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
    return out


def padded(pixels: Pixels, tile: int) -> Pixels:
    """Made larger to whole tiles; its last lines go on."""
    down, right = -pixels.shape[0] % tile, -pixels.shape[1] % tile
    return np.pad(pixels, ((0, down), (0, right), (0, 0)), mode="edge")


def _tiff(suffix: str, tile: int = 256, **how: Any) -> Writer:
    """A plain tiled pyramid."""
    first = {name: how.pop(name) for name in ("bigtiff", "byteorder") if name in how}

    def write(place: Path, levels: Sequence[Pixels], mpp: Mpp) -> Coded:
        path = place.with_suffix(suffix)
        with tifffile.TiffWriter(path, **first) as out:
            for level, pixels in enumerate(levels):
                scale = resolution((mpp[0] * STEP**level, mpp[1] * STEP**level))
                more = {"photometric": "rgb", **scale, **how, "subfiletype": int(level > 0)}
                out.write(pixels, tile=(tile, tile), metadata=None, **more)
        return whole(path, levels)

    return write


JPEG = {"compression": "jpeg", "compressionargs": {"level": 97}}
RGB = {"compression": "jpeg", "compressionargs": {"level": 97, "outcolorspace": "rgb"}}
HALVED = {**JPEG, "photometric": "rgb", "subsampling": (2, 2)}
FULL = {**JPEG, "photometric": "rgb", "subsampling": (1, 1)}


def _aperio(**how: Any) -> Writer:
    """Levels behind a thumbnail in strips; the scale in words."""

    def write(place: Path, levels: Sequence[Pixels], mpp: Mpp) -> Coded:
        path = place.with_suffix(".svs")
        size = f"{levels[0].shape[1]}x{levels[0].shape[0]}"
        said = f"Aperio Image Library v11.2.1\r\n{size} [0,0 {size}] (240x240)"
        tiled = {"photometric": "rgb", "tile": (240, 240), "metadata": None, **how}
        strips = {"photometric": "rgb", "rowsperstrip": 16, "metadata": None}
        with tifffile.TiffWriter(path) as out:
            out.write(levels[0], description=f"{said}|AppMag = 40|MPP = {mpp[0]}", **tiled)
            out.write(levels[-1][:99, :99], description=f"{said} -> 99x99", **strips)
            for pixels in levels[1:]:
                out.write(pixels, description=f"{said} -> smaller", **tiled)
        return whole(path, levels)

    return write


def _huron(place: Path, levels: Sequence[Pixels], mpp: Mpp) -> Coded:
    """The maker in a tag of its own."""
    path, make = place.with_suffix(".tif"), [(271, 2, None, "Huron Digital Pathology", True)]
    tiled = {"tile": (256, 256), "metadata": None, **FULL}
    with tifffile.TiffWriter(path, bigtiff=True) as out:
        said = f"Scanner = made\nResolution = {mpp[0]} um"
        out.write(levels[0], extratags=make, description=said, **resolution(mpp), **tiled)
        for pixels in levels[1:]:
            out.write(pixels, **tiled)
    return whole(path, levels)


def _trestle(place: Path, levels: Sequence[Pixels], mpp: Mpp) -> Coded:
    """The scale itself in the resolution tags."""
    path = place.with_suffix(".tif")
    tiled = {"tile": (256, 256), "metadata": None, "resolution": mpp, "software": "MedScan"}
    with tifffile.TiffWriter(path) as out:
        for pixels in levels:
            said = "OverlapsXY= 0 0 0 0;Objective Power=40"
            out.write(pixels, photometric="rgb", description=said, **tiled)
    return whole(path, levels)


def _philips(place: Path, levels: Sequence[Pixels], mpp: Mpp) -> Coded:
    """Levels padded to whole tiles; spacing in mm, row before column."""
    path = place.with_suffix(".tiff")

    def attribute(name: str, kind: str, value: str) -> str:
        return f'<Attribute Name="{name}" PMSVR="{kind}">{value}</Attribute>'

    def spacing(level: int) -> str:
        sizes = [f"&quot;{um * STEP**level / 1000:.9f}&quot;" for um in (mpp[1], mpp[0])]
        return attribute("DICOM_PIXEL_SPACING", "IDoubleArray", " ".join(sizes))

    one = '<DataObject ObjectType="PixelDataRepresentation">{}{}</DataObject>'
    number = "PIIM_PIXEL_DATA_REPRESENTATION_NUMBER"
    stated = [
        one.format(spacing(n), attribute(number, "IUInt16", str(n))) for n in range(len(levels))
    ]
    stored = attribute(
        "PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE",
        "IDataObjectArray",
        f"<Array>{''.join(stated)}</Array>",
    )
    kind = attribute("PIM_DP_IMAGE_TYPE", "IString", "WSI")
    scan = f'<DataObject ObjectType="DPScannedImage">{kind}{spacing(0)}{stored}</DataObject>'
    scans = attribute("PIM_DP_SCANNED_IMAGES", "IDataObjectArray", f"<Array>{scan}</Array>")
    maker = attribute("DICOM_MANUFACTURER", "IString", "PHILIPS")
    said = '<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport">'
    said += f"{maker}{scans}</DataObject>"
    with tifffile.TiffWriter(path) as out:
        for level, pixels in enumerate(levels):
            told = {"description": said if level == 0 else f"level={level}", **HALVED}
            more = {"tile": (64, 64), "metadata": None, "software": "Philips DP v1.0"}
            out.write(padded(pixels, 64), subfiletype=int(level > 0), **more, **told)
    return whole(path, levels)


def _ome(place: Path, levels: Sequence[Pixels], mpp: Mpp) -> Coded:
    """Levels in SubIFDs."""
    path = place.with_suffix(".ome.tif")
    said: dict[str, Any] = {"axes": "YXS"}
    for axis, um in zip("XY", mpp, strict=True):
        said |= {f"PhysicalSize{axis}": um, f"PhysicalSize{axis}Unit": "µm"}
    tiled = {"tile": (128, 128), "photometric": "rgb", "compression": "zlib"}
    with tifffile.TiffWriter(path, ome=True, bigtiff=True) as out:
        out.write(levels[0], subifds=len(levels) - 1, metadata=said, **tiled)
        for pixels in levels[1:]:
            out.write(pixels, subfiletype=1, metadata=None, **tiled)
    return whole(path, levels)


def _strips(place: Path, levels: Sequence[Pixels], mpp: Mpp) -> Coded:
    """As ImageJ writes it: one level in strips, and its own word for the unit."""
    path = place.with_suffix(".tif")
    said = {"description": "ImageJ=1.53t\nunit=\\u00B5m\n", "resolutionunit": "NONE"}
    scale = {"resolution": (1 / mpp[0], 1 / mpp[1]), "rowsperstrip": 37, "metadata": None}
    tifffile.imwrite(path, levels[0], photometric="rgb", **scale, **said)
    return whole(path, levels[:1])


def _picture(suffix: str, **how: Any) -> Writer:
    """A plain picture, whose scale a person says."""

    def write(place: Path, levels: Sequence[Pixels], mpp: Mpp) -> Coded:
        path = place.with_suffix(suffix)
        Image.fromarray(levels[0]).save(path, **how)
        return whole(path, levels[:1], default_mpp=mpp[0])

    return write


PLAIN: dict[str, tuple[str, Writer]] = {  # which code, and who writes
    "deflate": ("pixels", _tiff(".tif", compression="zlib")),
    "deflate, predictor": ("pixels", _tiff(".tif", compression="zlib", predictor=True)),
    "LZW": ("pixels", _tiff(".tif", compression="lzw")),
    "raw": ("pixels", _tiff(".tif", tile=96)),
    "BigTIFF": ("pixels", _tiff(".tif", compression="zlib", bigtiff=True)),
    "big endian": ("pixels", _tiff(".tif", byteorder=">")),
    "JPEG 4:2:0": ("grey", _tiff(".tif", **HALVED)),
    "JPEG 4:4:4": ("colour", _tiff(".tif", tile=512, **FULL)),
    "JPEG RGB": ("colour", _tiff(".tif", photometric="rgb", **RGB)),
    "JPEG, BigTIFF, big endian": (
        "colour",
        _tiff(".tif", tile=64, bigtiff=True, byteorder=">", **FULL),
    ),
    "Aperio, JPEG RGB": ("colour", _aperio(**RGB)),
    "Aperio, JPEG 4:2:0": ("grey", _aperio(**HALVED)),
    "Aperio, JPEG 2000": ("pixels", _aperio(compression="aperio_jp2000_rgb")),
    "Huron": ("colour", _huron),
    "Philips": ("grey", _philips),
    "Trestle": ("pixels", _trestle),
    "OME-TIFF": ("pixels", _ome),
    "strips of ImageJ": ("pixels", _strips),
    "PNG": ("pixels", _picture(".png")),
    "BMP": ("pixels", _picture(".bmp")),
    "JPEG picture": ("grey", _picture(".jpg", quality=97)),
}
