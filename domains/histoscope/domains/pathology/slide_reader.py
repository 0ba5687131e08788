"""Tiles of one slide or section picture: where they are planned and how they are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoscope.core.contracts import CorruptSample, Plan, Sample, Scalar
from histoscope.core.errors import UnreadableSource
from histoscope.domains.pathology.options import TileSampling
from histoscope.domains.pathology.readers.base import Halving, Pyramid, Region, RegionFault
from histoscope.domains.pathology.readers.choose import why_no_pixels
from histoscope.domains.pathology.resample import resample
from histoscope.domains.pathology.scale import Scale
from histoscope.domains.pathology.thumbnail import Thumbnail, make_thumbnail, thumbnail_size
from histoscope.domains.pathology.tiling import (
    PLACE,
    Box,
    Grid,
    Rectangle,
    downsample,
    enclosing,
    grid,
    in_steps,
    on_level,
    pick_level,
)
from histoscope.domains.pathology.tissue import is_dark_field, tissue_mask, tissue_parts, void_free

if TYPE_CHECKING:
    from histoscope.domains.pathology.annotations.drawing import Drawing
    from histoscope.domains.pathology.annotations.drawn import Drawn
    from histoscope.domains.pathology.stain_normalisation import SlideStains

SEARCH_UM = 8.0
PARTS_OF_A_TILE = 8  # a tile spans at least this many pixels of the search picture
LONGEST_SEARCH_PX = 2048
MASK_VALUES = 32
LITTLE = 0.01  # of what was scanned
AT_ONCE = 4096  # rows whose places are numbers of Python at a time
NEARLY = 1.01  # a level that is so much coarser still does


class SlideReader:
    """An open slide, cut at one sampling. Implements :class:`histoscope.core.contracts.Reader`.

    Args:
        pyramid: the open picture; closed with the reader.
        scale: um per level-0 pixel, one that may be read.
        sampling: how tiles are cut.
        drawn: what a person drew on it: labels of tiles, and tiles of its own.
        outlines: what a person says is tissue, level-0 px; None: it is looked for.

    Raises:
        UnreadableSource: no pixel can be read.
    """

    divisible = True

    def __init__(
        self,
        pyramid: Pyramid,
        scale: Scale,
        sampling: TileSampling,
        drawn: Drawn | None = None,
        outlines: Sequence[Drawing] | None = None,
    ) -> None:
        self._pyramid = pyramid
        self._mpp = (scale.x_um, scale.y_um)
        self.sampling = sampling
        self._drawn, self._outlines = drawn, outlines
        self._level = pick_level(pyramid.levels, self._mpp, sampling.tile_mpp)
        self._ratio = downsample(pyramid.levels, self._level)
        self._factor = self._halvings()
        if fault := why_no_pixels(pyramid, self._level):
            raise UnreadableSource(f"opens, but no part of it can be read ({fault})")
        self._told = self._facts(scale)
        self._scale_said = f"scale of --{scale.source}: {scale.refused}" if scale.refused else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        self._pyramid.close()

    @property
    def facts(self) -> Mapping[str, Scalar]:
        """What is known of the slide; with stain normalisation also what was fitted."""
        fitted = {} if self._stains is None else {"stain_fit": self._stains.summary}
        return self._told | fitted

    @cached_property
    def search_picture(self) -> Thumbnail:
        """The thumbnail on which tissue was looked for, also a ground for drawings."""
        tile_um = self.sampling.size_px * self.sampling.tile_mpp
        return self.overview(LONGEST_SEARCH_PX, min(SEARCH_UM, tile_um / PARTS_OF_A_TILE))

    @cached_property
    def tissue(self) -> NDArray[np.bool_]:
        """Tissue on :attr:`search_picture`; what could not be read there counts as tissue."""
        picture = self.search_picture
        if self._outlines is not None:
            from histoscope.domains.pathology.tissue_outline import mask_of

            return mask_of(self._outlines, picture.valid.shape, picture.ratio)
        found = tissue_mask(picture.image, picture.valid & picture.readable)
        return found | ~picture.readable

    def overview(self, longest_px: int, wanted_um: float = 0.0) -> Thumbnail:
        """The whole slide near ``wanted_um`` per px, no side longer than ``longest_px``."""
        size = thumbnail_size(self._pyramid, self._mpp, wanted_um, longest_px)
        return make_thumbnail(self._pyramid, size)

    def window(
        self, box: Box, size: tuple[int, int] | None = None
    ) -> NDArray[np.uint8] | CorruptSample:
        """What lies in a box on the slide, (height, width, 3).

        Args:
            box: level-0 px.
            size: width and height of the picture, no larger than the box; None: as they are there.
        """
        levels, out = self._pyramid.levels, size or (box.width, box.height)
        most = min(box.width / out[0], box.height / out[1]) * NEARLY
        level = max(n for n in range(len(levels)) if max(downsample(levels, n)) <= most)
        place = on_level(box.x, box.y, box.width, box.height, downsample(levels, level))
        try:
            region = self._pyramid.read(level, enclosing(place, levels[level]))
        except RegionFault as fault:
            return CorruptSample(f"unreadable ({fault})")
        return _cut(region, place, out, levels[level])

    def plan(self) -> Plan:
        """Tiles with enough tissue, row by row; none, with the reason, on an empty slide.

        With drawings: their labels, and behind the others tiles on drawings that got none.
        """
        plan = self._plan
        said = [plan.reason, self._pyramid.said, self._scale_said]
        said += [self._little_said, self._unused_said]
        if self._stains is not None and self._stains.left and len(plan.rows):
            said.append(f"stain {self._stains.summary}")
        return replace(plan, reason="; ".join(filter(None, said)))

    @property
    def tissue_share(self) -> float:
        """Part of what was scanned that is tissue, 0 to 1."""
        return float(self.tissue.sum() / max(1, self.search_picture.valid.sum()))

    @property
    def _little_said(self) -> str:
        share = self.tissue_share
        return f"little tissue: {share:.2%} of what was scanned" if 0 < share < LITTLE else ""

    @property
    def _unused_said(self) -> str:
        """Outlines of tissue that enclose nothing, which a person took for tissue."""
        notes = [one.note for one in self._outlines or () if one.outline is None]
        count = f"{len(notes)} outlines of tissue cannot be used"
        return f"{count} ({notes[0]})" if notes else ""

    @cached_property
    def _plan(self) -> Plan:
        plan, tiles = self._grid_plan()
        if self._drawn is None:
            return plan
        extra = self._drawn.extra_tiles(plan.rows, tiles, self._pyramid.scanned)
        parts = tissue_parts(self.tissue, self.search_picture.ratio, extra)
        return self._drawn.labelled(pa.concat_tables([plan.rows, _rows(extra, parts)]), plan)

    def _grid_plan(self) -> tuple[Plan, Grid]:
        cut, box = self.sampling, self._pyramid.scanned
        tiles = grid(box, self._mpp, cut.tile_mpp, cut.size_px, cut.stride_px, cut.partial)
        if not len(tiles.x_level0_px):
            reason = (
                f"smaller than one tile ({box.width} x {box.height} px, a tile spans "
                f"{tiles.width_level0_px:.0f} x {tiles.height_level0_px:.0f} px)"
            )
            return Plan(_rows(tiles, np.zeros(0)), reason=reason), tiles
        parts = tissue_parts(self.tissue, self.search_picture.ratio, tiles)
        kept = (parts >= cut.min_tissue) & ((parts > 0) | (cut.min_tissue == 0))
        x, y = tiles.x_level0_px[kept], tiles.y_level0_px[kept]
        chosen = replace(tiles, x_level0_px=x, y_level0_px=y)
        reason = "" if kept.any() else self._why_empty()
        return Plan(_rows(chosen, parts[kept]), reason=reason), tiles

    def read(self, rows: pa.Table) -> Iterator[Sample | CorruptSample]:
        """One tile a row, in row order; a region that fails becomes a CorruptSample."""
        for sample in self._read(rows):
            if self._stains is None or isinstance(sample, CorruptSample):
                yield sample
            else:
                yield Sample(self._stains(sample.image))

    def _read(self, rows: pa.Table) -> Iterator[Sample | CorruptSample]:
        """Tiles as the slide has them."""
        for some in rows.select(PLACE).to_batches(max_chunksize=AT_ONCE):
            columns = [column.to_pylist() for column in some.columns]
            for x, y, width, height in zip(*columns, strict=True):
                try:
                    yield Sample(self._tile(on_level(x, y, width, height, self._ratio)))
                except RegionFault as fault:
                    yield CorruptSample(f"unreadable ({fault})")

    @cached_property
    def _stains(self) -> SlideStains | None:
        """The slide's stain fit, on tiles spread evenly over its plan; None where none is asked."""
        if self.sampling.stain_normalisation == "none":
            return None
        from histoscope.domains.pathology.stain_normalisation import SlideStains, spread

        rows = self._plan.rows
        some = rows.take(spread(len(rows)))
        tiles = (one.image for one in self._read(some) if isinstance(one, Sample))
        return SlideStains(self.sampling.stain_normalisation, tiles)

    def marks(self, rows: pa.Table) -> Sequence[str | None]:
        """None: tissue is chosen when tiles are planned."""
        return [None] * len(rows)

    def _tile(self, place: Rectangle) -> NDArray[np.uint8]:
        side = (self.sampling.size_px, self.sampling.size_px)
        level = self._pyramid.levels[self._level]
        around = enclosing(place, level)
        box = in_steps(around, self._factor) if self._factor > 1 else around
        inside = box.x + box.width <= level[0] and box.y + box.height <= level[1]
        if self._factor > 1 and inside and isinstance(self._pyramid, Halving):
            image = self._pyramid.halved(self._level, self._factor, box)
            if image is not None:
                less = 1 / self._factor
                small = Rectangle(
                    *(less * one for one in (place.x, place.y, place.width, place.height))
                )
                region = Region(image, None, box.x * less, box.y * less)
                return _cut(region, small, side, (level[0] * less, level[1] * less))
        return _cut(self._pyramid.read(self._level, around), place, side, level)

    def _halvings(self) -> int:
        """By how much the decoder makes the level smaller: 1, 2, 4 or 8."""
        if not self.sampling.halving or not isinstance(self._pyramid, Halving):
            return 1
        level_um = (um * ratio for um, ratio in zip(self._mpp, self._ratio, strict=True))
        spare = self.sampling.tile_mpp / max(level_um) * NEARLY
        could = (n for n in (8, 4, 2) if n <= spare and self._pyramid.halves(self._level, n))
        return next(could, 1)

    def _why_empty(self) -> str:
        picture = self.search_picture
        if self._outlines is not None and not self.tissue.any():
            return "no tissue: nothing of it is outlined"
        if not picture.valid.any():
            return "no tissue found: nothing was scanned"
        grey = (np.ptp(picture.image.astype(np.int16), axis=2) == 0).all()
        values = len(np.unique(picture.image[:, :, 0]))
        if grey and values <= MASK_VALUES:
            return f"no tissue found: it looks like a label mask ({values} grey values)"
        seen = picture.valid & void_free(picture.image)
        if not seen.any() or is_dark_field(picture.image, seen):
            return "no tissue found: a dark picture, fluorescence or a mask"
        if self.tissue.any():
            part = self.sampling.min_tissue
            return f"no tile has enough tissue (at least {part:.0%} is asked for)"
        return "no tissue found"

    def _facts(self, scale: Scale) -> dict[str, Scalar]:
        width, height = self._pyramid.levels[0]
        box = self._pyramid.scanned
        return {
            **self._pyramid.facts,
            "width_level0_px": width,
            "height_level0_px": height,
            "levels": len(self._pyramid.levels),
            "mpp_x": scale.x_um,
            "mpp_y": scale.y_um,
            "mpp_source": scale.source,
            "read_level": self._level,
            "halved_by": self._factor,
            "bounds_x_level0_px": box.x,
            "bounds_y_level0_px": box.y,
            "bounds_width_level0_px": box.width,
            "bounds_height_level0_px": box.height,
            "tissue": "found" if self._outlines is None else "drawn",
            "partial_tiles": "white fill" if self.sampling.partial == "fill" else "dropped",
        }


def _cut(
    region: Region, place: Rectangle, size: tuple[int, int], level: tuple[float, float]
) -> NDArray[np.uint8]:
    """A rectangle of a level, px, out of a region around it, at another size."""
    corner = place.x - region.x, place.y - region.y
    end = level[0] - region.x, level[1] - region.y
    return resample(region.image, *corner, place.width, place.height, size, end)


def _rows(tiles: Grid, parts: NDArray[np.float64]) -> pa.Table:
    """Plan rows: place, key and tissue part; item and member belong to sets."""
    count = len(tiles.x_level0_px)
    places = zip(tiles.x_level0_px.tolist(), tiles.y_level0_px.tolist(), strict=True)
    return pa.table(
        {
            "key": pa.array([f"{x}-{y}" for x, y in places], pa.string()),
            "x_level0_px": pa.array(tiles.x_level0_px, pa.int64()),
            "y_level0_px": pa.array(tiles.y_level0_px, pa.int64()),
            "width_level0_px": pa.array([tiles.width_level0_px] * count, pa.float64()),
            "height_level0_px": pa.array([tiles.height_level0_px] * count, pa.float64()),
            "item": pa.nulls(count, pa.int64()),
            "member": pa.nulls(count, pa.string()),
            "tissue": pa.array(parts[:count], pa.float64()),
        }
    )
