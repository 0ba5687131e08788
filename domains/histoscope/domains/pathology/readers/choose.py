"""Pick the library that reads a file, or say truly why none does."""

from __future__ import annotations

import configparser
import itertools
import struct
from pathlib import Path

import openslide
import tifffile

from histoscope.core.errors import UnreadableSource
from histoscope.domains.pathology.dicom import SLIDE_CLASS, is_dicom, read_head
from histoscope.domains.pathology.formats import (
    DICOM_SUFFIXES,
    PICTURE_SUFFIXES,
    TIFF_SUFFIXES,
    TO_CONVERT,
    suffix_of,
)
from histoscope.domains.pathology.readers.base import Pyramid, RegionFault, words_of
from histoscope.domains.pathology.readers.direct_pyramid import with_own_tiles
from histoscope.domains.pathology.readers.flat_pyramid import FlatPyramid
from histoscope.domains.pathology.readers.openslide_pyramid import OpenSlidePyramid
from histoscope.domains.pathology.readers.tiff_colours import turned_words
from histoscope.domains.pathology.readers.tiff_images import DAMAGED
from histoscope.domains.pathology.readers.tiff_pyramid import (
    LARGEST_SEGMENT_PX,
    TOO_LARGE,
    TiffPyramid,
)
from histoscope.domains.pathology.readers.tiff_scans import reads_as_it_is
from histoscope.domains.pathology.tiling import Box

_CUT = ("Short read", "Premature end", "end of file", "End of file", "truncated")
_PROBE_PX = 64


def open_pyramid(path: Path, image: int | None = None, plane: int | None = None) -> Pyramid:
    """Open a slide or a picture with the library that reads all of it.

    Args:
        path: the file.
        image: which of several in a TIFF file; None takes the first scan.
        plane: which of a stack, from 1; None takes the middle one.

    Raises:
        UnreadableSource: with the reason, one line, without the file's name.
    """
    _check_present(path)
    if is_dicom(path):
        _check_dicom(path)
    elif suffix_of(path) in DICOM_SUFFIXES:
        raise UnreadableSource("named as DICOM, but it is no DICOM file")
    if suffix_of(path) in TO_CONVERT:
        raise UnreadableSource(_why_convert(path))
    if suffix_of(path) in PICTURE_SUFFIXES:
        return FlatPyramid(path)
    vendor = openslide.OpenSlide.detect_format(str(path))
    if vendor is None:
        return _without_openslide(path, image, plane)
    if vendor == "generic-tiff" and (image is not None or not reads_as_it_is(path)):
        return TiffPyramid(path, image, plane)
    if turned := _turned(path):
        raise UnreadableSource(turned_words(turned))
    if _has_huge_tiles(path):
        raise UnreadableSource(TOO_LARGE)
    try:
        return with_own_tiles(OpenSlidePyramid(path), path)
    except openslide.OpenSlideError as fault:
        return _after_fault(path, vendor, words_of(fault, path))


def _check_present(path: Path) -> None:
    if path.is_dir():
        raise UnreadableSource("what lies in this folder cannot be listed; is it yours to read?")
    if path.exists() and not path.is_file():
        raise UnreadableSource("neither a file nor a folder")
    try:
        with path.open("rb") as handle:
            if not handle.read(1):
                raise UnreadableSource("the file is empty")
    except OSError as fault:
        raise UnreadableSource(f"cannot be read ({fault.strerror})") from None


def _check_dicom(path: Path) -> None:
    """Refuse DICOM files that hold no bright-field pyramid, by their own words."""
    head = read_head(path)
    if head is None or not head.sop_class:
        return
    if head.sop_class != SLIDE_CLASS:
        raise UnreadableSource("a DICOM file, but not a whole-slide image")
    if head.flavour and head.flavour != "VOLUME":
        raise UnreadableSource(f"a DICOM file that holds only the {head.flavour.lower()} picture")
    if head.photometric.startswith("MONOCHROME"):
        raise UnreadableSource("a monochrome (fluorescence) DICOM slide: no bright-field colours")
    if not head.image_type:
        raise UnreadableSource(
            "a DICOM slide without ImageType: pyramid and label cannot be told apart"
        )


def _why_convert(path: Path) -> str:
    """Say what a format that no reader here opens needs."""
    name, folder = TO_CONVERT[suffix_of(path)], path.parent / f"_{path.stem}_"
    if suffix_of(path) == ".vsi" and not any(folder.rglob("*.ets")):
        return (
            "an Olympus VSI header without its pixels: the .ets folder that belongs beside it "
            "(_NAME_) is missing"
        )
    return f"{name} is not readable here; convert it to OME-TIFF or DICOM (Bio-Formats)"


def _turned(path: Path) -> int:
    """What a TIFF's first page says of its orientation, 0 where it is upright or no TIFF."""
    try:
        with tifffile.TiffFile(path) as tiff:
            turned = int(tiff.pages.first.tags.valueof("Orientation", 1) or 1)
    except DAMAGED:
        return 0  # whoever reads it says why
    return 0 if turned == 1 else turned


def _has_huge_tiles(path: Path) -> bool:
    """Whether a TIFF states tiles for which OpenSlide would end the process, out of memory."""
    try:
        with tifffile.TiffFile(path) as tiff:
            pages = [page for page in tiff.pages if isinstance(page, tifffile.TiffPage)]
            sizes = [page.tilewidth * page.tilelength for page in pages if page.is_tiled]
    except DAMAGED:
        return False  # whoever reads it says why
    return max(sizes, default=0) > LARGEST_SEGMENT_PX


def _without_openslide(path: Path, image: int | None, plane: int | None) -> Pyramid:
    """A file that OpenSlide does not know: a plain TIFF, or a cut or unknown one."""
    if suffix_of(path) not in TIFF_SUFFIXES:
        raise UnreadableSource("OpenSlide does not know this file: incomplete, or a variant")
    size = path.stat().st_size
    directory = _first_directory(path)
    if directory is None:
        raise UnreadableSource("not a TIFF file in spite of its name")
    if directory >= size:
        raise UnreadableSource(
            f"the file ends early: its directory lies at byte {directory}, "
            f"the file has {size}; copy it again"
        )
    return TiffPyramid(path, image, plane)


def _first_directory(path: Path) -> int | None:
    """Where a TIFF says that its first directory lies; None when it is no TIFF."""
    with path.open("rb") as handle:
        head = handle.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 16:
        return None
    version = struct.unpack(order + "H", head[2:4])[0]
    if version == 42:
        return int(struct.unpack(order + "I", head[4:8])[0])
    return int(struct.unpack(order + "Q", head[8:16])[0]) if version == 43 else None


def _after_fault(path: Path, vendor: str, words: str) -> Pyramid:
    """OpenSlide knows the format but does not open it: try tifffile, or say why."""
    if any(sign in words for sign in _CUT):
        raise UnreadableSource(f"the file ends early (OpenSlide: {words}); copy it again")
    if vendor == "mirax":
        raise UnreadableSource(_why_mirax(path, words))
    if "compression" in words:
        pyramid = TiffPyramid(path)
        if not why_no_pixels(pyramid, 0):
            return pyramid
        pyramid.close()
        raise UnreadableSource(f"its compression is not supported (OpenSlide: {words})")
    raise UnreadableSource(f"OpenSlide ({vendor}) cannot open it: {words}")


def _why_mirax(path: Path, words: str) -> str:
    folder = path.with_suffix("")
    if not folder.is_dir():
        return "a MIRAX file without the folder of the same name beside it"
    settings = configparser.ConfigParser(strict=False, interpolation=None)
    try:
        settings.read(folder / "Slidedat.ini", encoding="utf-8-sig")
        count = settings.getint("DATAFILE", "FILE_COUNT")
        names = [settings.get("DATAFILE", f"FILE_{place}") for place in range(count)]
    except (configparser.Error, OSError, ValueError):
        return "a MIRAX slide whose Slidedat.ini is missing or damaged: its folder is incomplete"
    missing = sum(not (folder / name).is_file() for name in names)
    if missing:
        return f"a MIRAX slide whose folder is incomplete: {missing} of {count} data files missing"
    return f"a MIRAX slide whose folder is incomplete or damaged (OpenSlide: {words})"


def why_no_pixels(pyramid: Pyramid, level: int) -> str:
    """Try nine places of a level; empty as soon as one can be read, else the last fault."""
    width, height = pyramid.levels[level]
    side_x, side_y = min(_PROBE_PX, width), min(_PROBE_PX, height)
    fault = ""
    for part_y, part_x in itertools.product((0.5, 0.0, 1.0), repeat=2):
        place = int((width - side_x) * part_x), int((height - side_y) * part_y)
        try:
            pyramid.read(level, Box(*place, side_x, side_y))
        except RegionFault as unread:
            fault = str(unread)
        else:
            return ""
    return fault
