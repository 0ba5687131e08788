"""The images of a TIFF file: their levels, planes and scales, and which of them are scans.

A file may hold a scan with its levels, a second scanned region, an overview or a label, a stack
of focal planes, and colours that lie in pages of their own.
"""

from __future__ import annotations

import logging
import math
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile

from histoscope.core.errors import UnreadableSource
from histoscope.domains.pathology.readers.tiff_scale import Stated, ome_scale, tag_scale
from histoscope.domains.pathology.scale import OVERVIEW_UM, implausible

# its lines name the file and say what becomes a reason here; a configured log still gets them
logging.getLogger("tifffile").addHandler(logging.NullHandler())

# what tifffile, and reading its pages, raises on damaged files
DAMAGED = (
    *(tifffile.TiffFileError, OSError, ValueError, LookupError, TypeError, AttributeError),
    *(RuntimeError, ArithmeticError, struct.error),
)

_BESIDE = frozenset({"label", "macro", "overview", "thumbnail", "barcode", "preview"})
_SCAN_PART = 0.25  # a region's longer side, as a part of the longest; labels are smaller
_ASPECT = 0.02  # levels of one picture, whose sides are rounded, differ by less
_WORDS = {"Z": "focal planes", "T": "times"}
_Said = tuple[str, tuple[int, int], ElementTree.Element]  # name, size and Pixels of an image


@dataclass(frozen=True)
class TiffImage:
    """One image of a file.

    Attributes:
        number: from 1, in the order of the file.
        name: as the file has it, lower case; never shown.
        levels: pages of each level, finest first; object arrays, (planes, channels).
        keyframes: page of each level that says how all of it is stored.
        stack: how many planes of which kind, as ``{"Z": 5}``; empty where there is one.
        stated: what is said of its scale.
        pixels: what OME-XML says of it, None where nothing.
    """

    number: int
    name: str
    levels: Sequence[Any]
    keyframes: Sequence[Any]
    stack: dict[str, int]
    stated: Stated
    pixels: ElementTree.Element | None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the finest level, px."""
        return self.keyframes[0].imagewidth, self.keyframes[0].imagelength

    @property
    def planes(self) -> int:
        """How many pictures lie one above or after the other."""
        return math.prod(self.stack.values())

    @property
    def stack_words(self) -> str:
        """``5 focal planes``, ``3 times x 5 focal planes``."""
        parts = (f"{count} {_WORDS.get(axis, 'pages')}" for axis, count in self.stack.items())
        return " x ".join(parts)


def images_of(tiff: tifffile.TiffFile) -> list[TiffImage]:
    """All images of an open file.

    Raises:
        UnreadableSource: none, or its planes lie in other files.
    """
    found = list[TiffImage]()
    said = _ome_pixels(tiff)
    for series in tiff.series:
        pixels = next((one for one in said if _speaks_of(one, series)), None)
        if pixels is not None:  # in the order of the file: what was passed over has no data
            said = said[said.index(pixels) + 1 :]
        found.append(_image(tiff, series, len(found) + 1, None if pixels is None else pixels[2]))
    if not found:
        raise UnreadableSource("a TIFF file without a picture")
    return _without_reduced(found)


def _speaks_of(said: _Said, series: Any) -> bool:
    """Whether an image of the OME-XML is this one: name, where it has one, and size agree."""
    size = (series.keyframe.imagewidth, series.keyframe.imagelength)
    return said[1] == size and (not series.name or said[0] == series.name)


def _ome_pixels(tiff: tifffile.TiffFile) -> list[_Said]:
    """Name, size and ``Pixels`` of each image of the OME-XML; none where it cannot be read."""
    if not tiff.is_ome or not tiff.ome_metadata:
        return []
    try:
        root = ElementTree.fromstring(tiff.ome_metadata)  # noqa: S314 - expat bounds entities
        return [
            (image.get("Name") or "", (int(one.get("SizeX", 0)), int(one.get("SizeY", 0))), one)
            for image in children(root, "Image")
            for one in children(image, "Pixels")
        ]
    except (ElementTree.ParseError, ValueError):
        return []


def children(element: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    """Children of this name in any name space."""
    return (item for item in element if item.tag.rpartition("}")[2] == name)


def _image(
    tiff: tifffile.TiffFile, series: Any, number: int, pixels: ElementTree.Element | None
) -> TiffImage:
    stack, channels = _leading(series)
    levels, keyframes = list[Any](), list[Any]()
    for level in series.levels:
        pages = list(level.pages)
        if len(pages) != math.prod([*stack.values(), *channels.values()]):
            break  # levels that lack planes are no levels of this stack
        if any(page is None or page.parent is not tiff for page in pages):
            raise UnreadableSource(
                "some of its planes lie in other files, or nowhere; write one file (bfconvert)"
            )
        levels.append(_in_order(pages, list(stack), _lengths(series)))
        keyframes.append(level.keyframe)
    if not levels:
        raise UnreadableSource("planes without directories of their own; convert it to OME-TIFF")
    imagej = str((tiff.imagej_metadata or {}).get("unit", "")) if tiff.is_imagej else ""
    stated = _stated(pixels, keyframes[0], imagej)
    name = (series.name or "").lower()
    return TiffImage(number, name, levels, keyframes, stack, stated, pixels)


def _lengths(series: Any) -> dict[str, int]:
    """Axes before those of a page, and how long each is."""
    page_axes = series.keyframe.axes
    if not series.axes.endswith(page_axes):
        return {"I": len(series.pages)} if len(series.pages) > 1 else {}
    before = len(series.axes) - len(page_axes)
    return dict(zip(series.axes[:before], series.shape[:before], strict=True))


def _leading(series: Any) -> tuple[dict[str, int], dict[str, int]]:
    """Axes of a stack and of channels."""
    lengths = _lengths(series)
    channels = {axis: lengths[axis] for axis in lengths if axis == "C"}
    return {axis: lengths[axis] for axis in lengths if axis != "C"}, channels


def _in_order(pages: Sequence[Any], stack: Sequence[str], lengths: dict[str, int]) -> Any:
    """Pages as (planes, channels)."""
    table = np.empty(len(pages), object)
    table[:] = pages
    table = table.reshape(tuple(lengths.values()))
    if "C" in lengths:
        table = np.moveaxis(table, list(lengths).index("C"), -1)
    return table.reshape(math.prod(lengths[axis] for axis in stack), -1)


def _stated(pixels: ElementTree.Element | None, page: Any, imagej_unit: str) -> Stated:
    """The first plausible scale; else why the first that stands there cannot be taken."""
    said = [] if pixels is None else [ome_scale(pixels)]
    said.append(tag_scale(page, imagej_unit))
    good = [one for one in said if one.mpp and not any(map(implausible, one.mpp))]
    stands = [one for one in said if one.mpp or one.fault]
    return (good or stands or [Stated()])[0]


def _without_reduced(images: Sequence[TiffImage]) -> list[TiffImage]:
    """Leave out smaller copies of a picture: levels that no directory ties to it."""
    kept = list[TiffImage]()
    for one in images:
        page = one.keyframes[0]
        reduced = int(page.subfiletype) & 1 and one.number > 1
        if not (reduced or (one.pixels is None and any(_alike(one, large) for large in images))):
            kept.append(one)
    return kept or list(images)


def _alike(small: TiffImage, large: TiffImage) -> bool:
    """Whether one may be a smaller copy of the other: the same sides, to scale."""
    width, height = (a / b for a, b in zip(small.size, large.size, strict=True))
    return width < 1 and abs(width / height - 1) <= _ASPECT


def _as_wide(small: TiffImage, large: TiffImage) -> bool:
    """Whether both show as many micrometres, where both say so."""
    here, there = _um(small), _um(large)
    if here is None or there is None:
        return here is there
    return abs(here * small.size[0] / (there * large.size[0]) - 1) <= _ASPECT


def beside_scan(image: TiffImage, images: Sequence[TiffImage]) -> str:
    """Why an image is none to cut tiles from, beside the others of its file; empty: it is one."""
    word = next((word for word in re.split("[^a-z]+", image.name) if word in _BESIDE), "")
    if word:
        return word
    if any(_alike(image, one) and _as_wide(image, one) for one in images):
        return "a smaller copy"
    fine = [one for one in images if _um(one) is not None and (_um(one) or 0) < OVERVIEW_UM]
    own = _um(image)
    if fine and own is None:
        return "no scale of its own"
    if fine and own is not None and own >= OVERVIEW_UM:
        return f"{own:.4g} um/px, an overview"
    largest = max(max(one.size) for one in images)
    return "small" if not fine and max(image.size) < _SCAN_PART * largest else ""


def _um(image: TiffImage) -> float | None:
    mpp = image.stated.mpp
    return None if mpp is None or any(map(implausible, mpp)) else max(mpp)


@dataclass(frozen=True)
class Scans:
    """What of a file is read.

    Attributes:
        images: of scans; the first image where none looks like one.
        left: what is not read and why, empty where all is.
    """

    images: Sequence[TiffImage]
    left: str = ""


def scans_of(images: Sequence[TiffImage]) -> Scans:
    """Tell scans from what lies beside them."""
    reasons = {one.number: beside_scan(one, images) for one in images}
    chosen = [one for one in images if not reasons[one.number]]
    chosen = chosen or [max(images, key=lambda one: math.prod(one.size))]
    left = [
        f"image {one.number} ({one.size[0]} x {one.size[1]} px, {reasons[one.number]})"
        for one in images
        if one not in chosen
    ]
    return Scans(chosen, f"not read: {', '.join(left)}" if left else "")
