"""Open a source that was found, with what was told of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from histoscope.core.contracts import Reader, Source
from histoscope.core.errors import DataError, UnreadableSource
from histoscope.domains.pathology.annotations.drawing import Drawing
from histoscope.domains.pathology.annotations.drawn import Drawn
from histoscope.domains.pathology.annotations.reading import read_drawings
from histoscope.domains.pathology.discovery import image_number
from histoscope.domains.pathology.options import TileSampling
from histoscope.domains.pathology.readers.choose import open_pyramid
from histoscope.domains.pathology.scale import check, resolve
from histoscope.domains.pathology.set_reader import SetReader
from histoscope.domains.pathology.set_sources import open_set
from histoscope.domains.pathology.slide_reader import SlideReader
from histoscope.domains.pathology.tiling import Box
from histoscope.domains.pathology.told import ToldOfSet, ToldOfSlide


def open_slide(source: Source, path: Path, sampling: TileSampling) -> Reader:
    """Open a slide or a section picture. Raises UnreadableSource with the true reason."""
    told: ToldOfSlide = source.told or ToldOfSlide()
    pyramid = open_pyramid(path, image_number(source), told.plane)
    try:
        scale = resolve(pyramid.mpp, told.listed_mpp, told.default_mpp, pyramid.scale_fault)
        drawn, outlines = _drawn_on(told, pyramid.scanned), _outlines_on(told, pyramid.scanned)
        check(scale, sampling.tile_mpp, allow_anisotropic=told.allow_anisotropic)
        return SlideReader(pyramid, scale, sampling, drawn, outlines)
    except UnreadableSource:
        pyramid.close()
        raise


def _drawn_on(told: ToldOfSlide, scanned: Box) -> Drawn | None:
    """What was drawn on a slide, None where no file speaks of it."""
    if not told.drawings:
        return None
    try:
        drawings = [
            one
            for file in told.drawings
            for one in read_drawings(file, _offset(told, scanned), told.classes)
        ]
    except DataError as fault:
        raise UnreadableSource(f"its annotations cannot be used: {fault}") from None
    return Drawn(drawings, told.task, told.rest_is)


def _outlines_on(told: ToldOfSlide, scanned: Box) -> Sequence[Drawing] | None:
    """Outlines of its tissue, None where no file speaks of it."""
    if not told.tissue:
        return None
    try:
        offset = _offset(told, scanned)
        return [one for file in told.tissue for one in read_drawings(file, offset)]
    except DataError as fault:
        raise UnreadableSource(f"the outlines of its tissue cannot be used: {fault}") from None


def _offset(told: ToldOfSlide, scanned: Box) -> tuple[int, int]:
    return (0, 0) if told.coordinates == "level0" else (scanned.x, scanned.y)


def open_set_reader(source: Source, path: Path, sampling: TileSampling) -> Reader:
    """Open a labelled set.

    Raises:
        UnreadableSource: with the true reason.
        DataError: its pictures cannot give the tile asked for.
    """
    told: ToldOfSet = source.told
    tiles = open_set(path, source.kind)
    try:
        return SetReader(tiles, sampling, told)
    except UnreadableSource:
        tiles.close()
        raise
    except DataError as fault:
        tiles.close()
        raise DataError(f"{path}: {fault}") from None
