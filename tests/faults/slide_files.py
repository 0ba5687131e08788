"""Small slides of many formats, and where in each file the pixels of which tile lie."""

from __future__ import annotations

import io
import math
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import simplejpeg
import tifffile
from numpy.typing import NDArray
from PIL import Image

from tests.faults.made import MPP
from tests.faults.mutations import Range, Whole

SIZE = (256, 192)  # px, width and height
FILE_TILE = 64  # px, side of the tiles that files are made of
# what some cameras write in whole pictures is no damage: few bytes behind it, odd scan parameters
_USUAL = re.compile(
    r"Corrupt JPEG data: ([1-9]|1[0-6]) extraneous bytes before marker 0xd9|Invalid SOS parameters"
)
_START, _END = b"\xff\xd8", b"\xff\xd9"
Complains = Callable[[bytes], str]


@dataclass(frozen=True, kw_only=True)
class WholeSlide(Whole):
    """An undamaged slide.

    Attributes:
        tiles: where in the file each tile of level 0 lies, row by row, first and behind the last.
        wide, tall: their sides, px; a picture that is stored in one piece is one tile.
        complains: what a strict decoder has to say against the bytes of a tile, empty where
            nothing; None where OpenSlide reads the slide and is asked itself.
    """

    tiles: Sequence[Range]
    wide: int
    tall: int
    complains: Complains | None = None

    def under(self, x: int, y: int, side: int) -> list[int]:
        """Numbers of the file's tiles under a square, level-0 px."""
        across = math.ceil(SIZE[0] / self.wide)
        columns = range(x // self.wide, (x + side - 1) // self.wide + 1)
        rows = range(y // self.tall, (y + side - 1) // self.tall + 1)
        return [row * across + column for row in rows for column in columns]


def picture() -> NDArray[np.uint8]:
    """Smooth colours that say where they are, and some noise, (height, width, 3)."""
    x, y = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    noise = np.random.default_rng(0).normal(0, 5, (SIZE[1], SIZE[0], 3))
    waves = np.stack([np.sin(x / 31), np.cos(y / 23), np.sin((x + y) / 47)], 2)
    return np.clip(150 + 60 * waves + noise, 0, 255).astype(np.uint8)


def _jpeg_fault(tables: bytes) -> Complains:
    """What libjpeg warns of, which is no picture here; of tiles that share their tables."""
    shared = tables[len(_START) : -len(_END)] if tables else b""

    def complains(data: bytes) -> str:
        try:
            simplejpeg.decode_jpeg(_START + shared + data[len(_START) :], "RGB")
        except (ValueError, OSError, MemoryError) as fault:
            return "" if _USUAL.match(str(fault)) else str(fault) or "no JPEG"
        return ""

    return complains


def _zlib_fault(data: bytes) -> str:
    """What the checksum says."""
    try:
        reader = zlib.decompressobj()
        reader.decompress(data)
    except zlib.error as fault:
        return str(fault)
    return "" if reader.eof else "incomplete"


def _png_fault(data: bytes) -> str:
    """What the checksums say."""
    try:
        with Image.open(io.BytesIO(data)) as found:
            found.verify()
    except (OSError, ValueError, SyntaxError) as fault:
        return str(fault) or "no PNG"
    return ""


def _tiff(path: Path, complains: Complains | Literal["tables"] | None = None) -> WholeSlide:
    """A TIFF that was written; ``tables``: of JPEG that share their tables."""
    data, pixels = path.read_bytes(), list[Range]()
    with tifffile.TiffFile(path) as tiff:
        first: Any = tiff.pages[0]
        for page in [*tiff.pages, *(first.pages or ())]:
            counts = zip(page.dataoffsets, page.databytecounts, strict=True)
            pixels += [(start, start + count) for start, count in counts]
        if complains == "tables":
            complains = _jpeg_fault(first.jpegtables or b"")
        tall, wide = first.chunks[:2]
        tiles = pixels[: len(first.dataoffsets)]
    return WholeSlide(
        path.name, data, pixels, tiles=tiles, wide=wide, tall=tall, complains=complains
    )


def _write_tiff(path: Path, levels: int = 1, **more: Any) -> Path:
    """A TIFF at the scale, with levels in pages of their own."""
    scale = {"resolution": (1e4 / MPP, 1e4 / MPP), "resolutionunit": "CENTIMETER"}
    told = {"photometric": "rgb", "metadata": None, **scale, **more}
    if "rowsperstrip" not in told:
        told["tile"] = (FILE_TILE, FILE_TILE)
    with tifffile.TiffWriter(path) as out:
        for level in range(levels):
            pixels = np.ascontiguousarray(picture()[:: 2**level, :: 2**level])
            out.write(pixels, subfiletype=int(level > 0), **told)
    return path


def _write_ome(path: Path, **more: Any) -> Path:
    """An OME-TIFF with a level in a SubIFD."""
    said = {f"PhysicalSize{axis}": MPP for axis in "XY"}
    said |= {f"PhysicalSize{axis}Unit": "µm" for axis in "XY"}
    told = {"photometric": "rgb", "tile": (FILE_TILE, FILE_TILE), **more}
    with tifffile.TiffWriter(path, ome=True) as out:
        out.write(picture(), subifds=1, metadata={"axes": "YXS", **said}, **told)
        small = np.ascontiguousarray(picture()[::2, ::2])
        out.write(small, subfiletype=1, metadata=None, **told)
    return path


def _write_dicom(path: Path) -> WholeSlide:
    """A DICOM slide of one level of JPEG frames, as OpenSlide reads it."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate

    frames = []
    for y in range(0, SIZE[1], FILE_TILE):
        for x in range(0, SIZE[0], FILE_TILE):
            frame = io.BytesIO()
            tile = picture()[y : y + FILE_TILE, x : x + FILE_TILE]
            Image.fromarray(tile).save(frame, "jpeg", quality=90)
            frames.append(frame.getvalue())
    slide, meta, measures = Dataset(), FileMetaDataset(), Dataset()
    groups, optical = Dataset(), Dataset()
    meta.MediaStorageSOPClassUID = slide.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.6"
    meta.MediaStorageSOPInstanceUID = slide.SOPInstanceUID = "1.2.3.4.5"
    meta.TransferSyntaxUID, meta.ImplementationClassUID = "1.2.840.10008.1.2.4.50", "1.2.3.4"
    slide.file_meta = meta
    slide.ImageType, slide.Modality = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], "SM"
    slide.StudyInstanceUID, slide.SeriesInstanceUID = "1.2.3.1", "1.2.3.2"
    slide.SamplesPerPixel, slide.PhotometricInterpretation = 3, "YBR_FULL_422"
    slide.PlanarConfiguration, slide.PixelRepresentation = 0, 0
    slide.BitsAllocated, slide.BitsStored, slide.HighBit = 8, 8, 7
    slide.NumberOfFrames, slide.Rows, slide.Columns = len(frames), FILE_TILE, FILE_TILE
    slide.TotalPixelMatrixColumns, slide.TotalPixelMatrixRows = SIZE
    slide.DimensionOrganizationType, slide.NumberOfOpticalPaths = "TILED_FULL", 1
    measures.PixelSpacing, measures.SliceThickness = [MPP / 1000, MPP / 1000], 0.001
    groups.PixelMeasuresSequence = [measures]
    slide.SharedFunctionalGroupsSequence = [groups]
    optical.OpticalPathIdentifier = "1"
    slide.OpticalPathSequence = [optical]
    slide.PixelData = encapsulate(frames)
    slide["PixelData"].is_undefined_length = True
    slide.save_as(path, enforce_file_format=True)
    data, tiles, at = path.read_bytes(), list[Range](), 0
    for frame in frames:
        at = data.index(frame, at)
        tiles.append((at, at + len(frame)))
    return WholeSlide(path.name, data, tiles, tiles=tiles, wide=FILE_TILE, tall=FILE_TILE)


def _write_picture(path: Path, mark: bytes, complains: Complains, **more: Any) -> WholeSlide:
    """A picture, whose pixels begin behind a mark."""
    Image.fromarray(picture()).save(path, **more)
    data = path.read_bytes()
    pixels = [(data.index(mark), len(data))]
    wide, tall = SIZE
    tiles = [(0, len(data))]
    return WholeSlide(
        path.name, data, pixels, tiles=tiles, wide=wide, tall=tall, complains=complains
    )


APERIO = f"Aperio Image Library v11.2.1\r\n{SIZE[0]}x{SIZE[1]} (64x64) |AppMag = 20|MPP = {MPP}"
JPEG: dict[str, Any] = {"compression": "jpeg", "compressionargs": {"level": 90}}
YCBCR = {**JPEG, "photometric": "ycbcr", "subsampling": (2, 2)}
RGB = {**JPEG, "compressionargs": {"level": 90, "outcolorspace": "rgb"}}


def write_all(folder: Path) -> list[WholeSlide]:
    """One slide of each format, and who is asked about damage: OpenSlide where it reads them."""
    named: dict[str, Any] = {"levels": 1, "description": APERIO}
    strips: dict[str, Any] = {"rowsperstrip": 32}
    deflate: dict[str, Any] = {"compression": "zlib"}
    return [
        _tiff(_write_tiff(folder / "jpeg-ycbcr.tif", 2, **YCBCR)),
        _tiff(_write_tiff(folder / "jpeg-rgb.tif", 2, **RGB)),
        _tiff(_write_tiff(folder / "aperio.svs", **RGB, **named)),
        _tiff(_write_tiff(folder / "aperio-2000.svs", compression=33005, **named)),
        _tiff(_write_tiff(folder / "deflate.tif", 2, **deflate)),
        _tiff(_write_tiff(folder / "lzw.tif", compression="lzw", predictor=True)),
        _tiff(_write_tiff(folder / "plain.tif")),
        _tiff(_write_tiff(folder / "strips.tif", **deflate, **strips), _zlib_fault),
        _tiff(_write_tiff(folder / "strips-jpeg.tif", **YCBCR, **strips), "tables"),
        _tiff(_write_ome(folder / "jpeg.ome.tif", **YCBCR), "tables"),
        _tiff(_write_ome(folder / "deflate.ome.tif", **deflate), _zlib_fault),
        _write_dicom(folder / "frames.dcm"),
        _write_picture(folder / "picture.png", b"IDAT", _png_fault),
        _write_picture(folder / "picture.jpg", b"\xff\xda", _jpeg_fault(b""), quality=90),
    ]
