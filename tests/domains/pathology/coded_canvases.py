"""Coded slides whose scan lies somewhere on a larger canvas, and those of DICOM."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from histoscope.domains.pathology.dicom import SLIDE_CLASS
from tests.domains.pathology.coded_slides import (
    STEP,
    Coded,
    Mpp,
    Pixels,
    Writer,
    padded,
    placed,
    resolution,
    whole,
)

TILE = 64
OFFSET = (5 * TILE * STEP, 2 * TILE * STEP)  # of a scan on its canvas, level-0 px
BESIDE = (308, 172)  # the same where it need not be whole tiles
SCN = "http://www.leica-microsystems.com/scn/2010/10/01"


def _on_canvas(
    levels: Sequence[Pixels], offset: tuple[int, int], right: int, lower: int
) -> list[Pixels]:
    """Levels on white canvases with some px of level 0 around the scan."""
    tall, wide = levels[0].shape[:2]
    canvas = offset[0] + wide + right, offset[1] + tall + lower
    return [
        placed(pixels, (canvas[0] // n, canvas[1] // n), offset[0] // n, offset[1] // n)
        for n, pixels in ((STEP**level, pixels) for level, pixels in enumerate(levels))
    ]


def _leica(place: Path, levels: Sequence[Pixels], mpp: Mpp) -> Coded:
    """The scan anywhere in the collection, lengths in nm."""
    path, (tall, wide) = place.with_suffix(".scn"), levels[0].shape[:2]
    canvas = _on_canvas(levels, BESIDE, 240, 120)
    nm = [round(um * 1000) for um in mpp]

    def size(width: int, height: int) -> str:
        return f'sizeX="{width * nm[0]}" sizeY="{height * nm[1]}"'

    at = f'offsetX="{BESIDE[0] * nm[0]}" offsetY="{BESIDE[1] * nm[1]}"'
    stored = [
        f'<dimension sizeX="{one.shape[1]}" sizeY="{one.shape[0]}" r="{n}" ifd="{n}"/>'
        for n, one in enumerate(levels)
    ]
    light = "<illuminationSettings><illuminationSource>brightfield</illuminationSource>"
    light += "</illuminationSettings><objectiveSettings><objective>40</objective>"
    scan = f'<image><device model="made"/><pixels sizeX="{wide}" sizeY="{tall}">{"".join(stored)}'
    scan += f"</pixels><view {size(wide, tall)} {at}/>"
    scan += f"<scanSettings>{light}</objectiveSettings></scanSettings></image>"
    around = size(canvas[0].shape[1], canvas[0].shape[0])
    said = f'<scn xmlns="{SCN}"><collection name="a" {around}>{scan}</collection></scn>'
    with tifffile.TiffWriter(path, bigtiff=True) as out:
        for level, pixels in enumerate(levels):
            scale = resolution((mpp[0] * STEP**level, mpp[1] * STEP**level))
            told = {"description": said} if level == 0 else {}
            more = {"photometric": "rgb", "compression": "zlib", "metadata": None}
            out.write(pixels, tile=(128, 128), **scale, **more, **told)
    return Coded(path, canvas, (*BESIDE, wide, tall), {})


def _tiles(pixels: Pixels, empty: tuple[int, int] = (0, 0)) -> Iterator[Pixels | None]:
    """Tiles of a level, None for those of rows and columns at the upper left that hold nothing."""
    for y in range(0, pixels.shape[0], TILE):
        for x in range(0, pixels.shape[1], TILE):
            outside = x < empty[0] or y < empty[1]
            tile = padded(pixels[y : y + TILE, x : x + TILE], TILE)
            yield None if outside else np.ascontiguousarray(tile)


def _deflated(pixels: Pixels, empty: tuple[int, int]) -> Iterator[bytes]:
    """Tiles as they lie in the file; of one that is left out nothing."""
    for tile in _tiles(pixels, empty):
        yield b"" if tile is None else zlib.compress(tile.tobytes())


def _sparse(suffix: str, tags: Sequence[Any] = ()) -> Writer:
    """Tiles around the scan are left out of the file."""

    def write(place: Path, levels: Sequence[Pixels], mpp: Mpp) -> Coded:
        path, (tall, wide) = place.with_suffix(suffix), levels[0].shape[:2]
        canvas = _on_canvas(levels, OFFSET, 0, 0)
        with tifffile.TiffWriter(path) as out:
            for level, pixels in enumerate(canvas):
                scale = resolution((mpp[0] * STEP**level, mpp[1] * STEP**level))
                more = {"photometric": "rgb", "compression": "zlib", "metadata": None}
                empty = OFFSET[0] // STEP**level, OFFSET[1] // STEP**level
                told = {"shape": pixels.shape, "dtype": np.uint8, "tile": (TILE, TILE)}
                told |= {"subfiletype": int(level > 0), "extratags": tags}
                out.write(_deflated(pixels, empty), **told, **scale, **more)
        return Coded(path, canvas, (*OFFSET, wide, tall), {})

    return write


ARGOS = [
    (
        *(65000, 2, None),
        "<Argos.Scan.Metadata><MinZ>0</MinZ><MaxZ>0</MaxZ></Argos.Scan.Metadata>",
        True,
    )
]


def _mirax(place: Path, levels: Sequence[Pixels], mpp: Mpp) -> Coded:
    """A folder beside a small file: settings, an index of pages, and PNG tiles in one file."""
    folder, (tall, wide) = place, levels[0].shape[:2]
    folder.mkdir()
    place.with_suffix(".mrxs").write_bytes(b"made")
    canvas = _on_canvas(levels, OFFSET, 0, 0)
    size = -(-canvas[0].shape[1] // TILE), -(-canvas[0].shape[0] // TILE)
    data, pages = bytearray(), list[list[tuple[int, int, int, int]]]()
    for level, pixels in enumerate(canvas):
        across, page = -(-pixels.shape[1] // TILE), list[tuple[int, int, int, int]]()
        empty = OFFSET[0] // STEP**level, OFFSET[1] // STEP**level
        for number, tile in enumerate(_tiles(pixels, empty)):
            if tile is not None:
                png = io.BytesIO()
                Image.fromarray(tile).save(png, "png")
                x, y = number % across * STEP**level, number // across * STEP**level
                page.append((y * size[0] + x, len(data), len(png.getvalue()), 0))
                data += png.getvalue()
        pages.append(page)
    (folder / "Data0000.dat").write_bytes(data)
    (folder / "Index.dat").write_bytes(_mirax_index(pages))
    (folder / "Slidedat.ini").write_text(_mirax_settings(size, mpp, len(levels)), "utf-8")
    return Coded(place.with_suffix(".mrxs"), canvas, (*OFFSET, wide, tall), {})


def _mirax_index(pages: Sequence[Sequence[tuple[int, int, int, int]]]) -> bytes:
    """Version, id, and from a table of levels to the one page of each."""
    start = 5 + 4 + 8  # behind version, id and the two roots
    out = b"01.02" + b"made" + struct.pack("<2i", start, start)
    at = start + 4 * len(pages)
    heads, bodies = b"", b""
    for page in pages:
        heads += struct.pack("<i", at)
        body = struct.pack("<2i", 0, at + 8) + struct.pack("<2i", len(page), 0)
        body += b"".join(struct.pack("<4i", *entry) for entry in page)
        bodies, at = bodies + body, at + len(body)
    return out + heads + bodies


def _mirax_settings(size: tuple[int, int], mpp: Mpp, levels: int) -> str:
    lines = ["[GENERAL]", "SLIDE_VERSION = 01.02", "SLIDE_ID = made"]
    lines += [f"IMAGENUMBER_X = {size[0]}", f"IMAGENUMBER_Y = {size[1]}"]
    lines += ["OBJECTIVE_MAGNIFICATION = 40", "[HIERARCHICAL]", "HIER_COUNT = 1"]
    lines += ["NONHIER_COUNT = 0", "INDEXFILE = Index.dat", "HIER_0_NAME = Slide zoom level"]
    lines += [f"HIER_0_COUNT = {levels}"]
    lines += [f"HIER_0_VAL_{n}_SECTION = LEVEL_{n}" for n in range(levels)]
    lines += ["[DATAFILE]", "FILE_COUNT = 1", "FILE_0 = Data0000.dat"]
    for n in range(levels):
        lines += [f"[LEVEL_{n}]", "OVERLAP_X = 0", "OVERLAP_Y = 0", "IMAGE_FORMAT = PNG"]
        lines += [f"MICROMETER_PER_PIXEL_X = {mpp[0] * STEP**n}"]
        lines += [f"MICROMETER_PER_PIXEL_Y = {mpp[1] * STEP**n}"]
        lines += ["IMAGE_FILL_COLOR_BGR = 16777215", f"IMAGE_CONCAT_FACTOR = {2 * (n > 0)}"]
        lines += [f"DIGITIZER_WIDTH = {TILE}", f"DIGITIZER_HEIGHT = {TILE}"]
    return "\n".join(lines) + "\n"


def _dicom(place: Path, levels: Sequence[Pixels], mpp: Mpp) -> Coded:
    """A file a level, frames uncompressed; spacing in mm, row before column."""
    place.mkdir()
    series, study = generate_uid(), generate_uid()
    for level, pixels in enumerate(levels):
        slide = Dataset()
        slide.file_meta = FileMetaDataset()
        slide.file_meta.MediaStorageSOPClassUID = slide.SOPClassUID = SLIDE_CLASS
        slide.file_meta.MediaStorageSOPInstanceUID = slide.SOPInstanceUID = generate_uid()
        slide.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        slide.ImageType = ["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED" if level else "NONE"]
        slide.Modality, slide.SeriesInstanceUID, slide.StudyInstanceUID = "SM", series, study
        slide.SamplesPerPixel, slide.PhotometricInterpretation = 3, "RGB"
        slide.PlanarConfiguration, slide.PixelRepresentation = 0, 0
        slide.BitsAllocated, slide.BitsStored, slide.HighBit = 8, 8, 7
        slide.Rows = slide.Columns = TILE
        slide.TotalPixelMatrixColumns, slide.TotalPixelMatrixRows = pixels.shape[1::-1]
        slide.DimensionOrganizationType, slide.TotalPixelMatrixFocalPlanes = "TILED_FULL", 1
        slide.NumberOfOpticalPaths, slide.OpticalPathSequence = 1, Items([_optical_path()])
        frames = [tile.tobytes() for tile in _tiles(pixels) if tile is not None]
        slide.NumberOfFrames, slide.PixelData = len(frames), b"".join(frames)
        measures, shared = Dataset(), Dataset()
        spacing = [um * STEP**level / 1000 for um in (mpp[1], mpp[0])]
        measures.PixelSpacing, measures.SliceThickness = spacing, 0.001
        shared.PixelMeasuresSequence = Items([measures])
        slide.SharedFunctionalGroupsSequence = Items([shared])
        slide.save_as(place / f"{level}.dcm", enforce_file_format=True)
    return whole(place, levels)


def _optical_path() -> Dataset:
    path = Dataset()
    path.OpticalPathIdentifier = "1"
    return path


ON_CANVAS: dict[str, tuple[str, Writer]] = {
    "Leica": ("pixels", _leica),
    "sparse TIFF": ("pixels", _sparse(".tif")),
    "ARGOS": ("pixels", _sparse(".avs", ARGOS)),
    "MIRAX": ("pixels", _mirax),
}
DICOM: dict[str, tuple[str, Writer]] = {"DICOM": ("pixels", _dicom)}
