"""Read a labelled tile set at one sampling: every picture is fitted to the tile asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoscope.core.contracts import CorruptSample, Plan, PlanLabels, Sample, Scalar
from histoscope.core.errors import DataError, UnreadableSource, printable
from histoscope.core.files import digest_of
from histoscope.domains.pathology.options import TileSampling
from histoscope.domains.pathology.readers.base import RegionFault
from histoscope.domains.pathology.resample import resample
from histoscope.domains.pathology.scale import UPSAMPLING
from histoscope.domains.pathology.sets import Member, TileSet
from histoscope.domains.pathology.tiling import PLACE
from histoscope.domains.pathology.told import ToldOfSet

FIELD_TOLERANCE = 0.01
_TRIED = 16

HALVED = "halving is of slides: these pictures are read as they are"


class SetReader:
    """An open labelled set. Implements :class:`histoscope.core.contracts.Reader`.

    Args:
        tiles: the open set; closed with the reader.
        sampling: the tile asked for.
        told: scale, labels and cases of its pictures.

    Raises:
        DataError: its pictures are too coarse or too small for the tile asked for.
        UnreadableSource: the set is empty.
    """

    def __init__(self, tiles: TileSet, sampling: TileSampling, told: ToldOfSet) -> None:
        self.divisible = sampling.stain_normalisation == "none"  # else it counts what it reads
        self._tiles = tiles
        self._sampling = sampling
        self._told = told
        if not tiles.members:
            raise UnreadableSource("a set without pictures")
        self._stains = None
        if sampling.stain_normalisation != "none":
            from histoscope.domains.pathology.stain_normalisation import EachAlone

            self._stains = EachAlone(sampling.stain_normalisation)
        first = self._first()
        self._facts: dict[str, Scalar] = {
            "reader": tiles.kind,
            "mpp_x": told.mpp,
            "mpp_y": told.mpp,
            "mpp_source": "--mpp",
            "tiles": len(tiles.members),
            "first_width_px": None if first is None else first.shape[1],
            "first_height_px": None if first is None else first.shape[0],
        }

    @property
    def facts(self) -> Mapping[str, Scalar]:
        """What is known of the set, and how many of the pictures read so far were normalised."""
        fitted = {} if self._stains is None else {"stain_fit": self._stains.summary()}
        return self._facts | fitted

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        self._tiles.close()

    def plan(self) -> Plan:
        """One row a picture, with its label."""
        members = self._tiles.members
        names = [
            None if name is None else printable(name)
            for name in (self._told.classes.of(one.label) for one in members)
        ]
        known = any(name is not None for name in names)
        labels = {self._told.task: PlanLabels(pa.array(names, pa.string()))} if known else {}
        said = HALVED if self._sampling.halving else ""
        return Plan(_rows(members, self._tiles.named, self._told.cases), labels, said)

    def read(self, rows: pa.Table) -> Iterator[Sample | CorruptSample]:
        """One picture a row, fitted to the tile; a damaged one becomes a CorruptSample."""
        for item in rows.column("item").to_pylist():
            try:
                image = fit(self._tiles.load(item), self._told.mpp, self._sampling)
            except RegionFault as fault:
                yield CorruptSample(f"unreadable ({fault})")
            except DataError as fault:
                yield CorruptSample(str(fault))
            else:
                yield Sample(image if self._stains is None else self._stains(image))

    def marks(self, rows: pa.Table) -> Sequence[str | None]:
        """None: tissue is chosen when tiles are planned."""
        return [None] * len(rows)

    def _first(self) -> NDArray[np.uint8] | None:
        """The first picture that can be read and fitted; refuses when none of those read fits."""
        misfit: DataError | None = None
        for item in range(min(_TRIED, len(self._tiles.members))):
            try:
                image = self._tiles.load(item)
                fit(image, self._told.mpp, self._sampling)
            except RegionFault:
                continue
            except DataError as fault:
                misfit = misfit or fault
            else:
                return image
        if misfit is not None:
            raise misfit
        return None


def fit(image: NDArray[np.uint8], mpp: float, sampling: TileSampling) -> NDArray[np.uint8]:
    """Bring a picture to the tile asked for: the same field, or its centre.

    Args:
        image: (height, width, 3).
        mpp: its um per pixel.
        sampling: side and scale of the tile.

    Returns:
        (size_px, size_px, 3). A field that agrees within 1 % is taken whole; a larger one is cut
        to its centre.

    Raises:
        DataError: the picture is more than 5 % coarser, or shows less than the tile.
    """
    wanted, side = sampling.tile_mpp, sampling.size_px
    if mpp > wanted * UPSAMPLING:
        raise DataError(
            f"tiles of {mpp:g} um/px would be upsampled to the {wanted:g} um/px asked for; "
            "give a coarser --tile-mpp"
        )
    height, width = image.shape[:2]
    span = side * wanted / mpp
    if min(width, height) < span * (1 - FIELD_TOLERANCE):
        shown_um = min(width, height) * mpp
        raise DataError(
            f"tiles of {width} x {height} px at {mpp:g} um/px show {shown_um:.1f} um, "
            f"less than the {side * wanted:.1f} um asked for ({side} px at {wanted:g} um/px); "
            "give a smaller --size-px or --tile-mpp"
        )
    x, columns = _centre(width, span)
    y, rows = _centre(height, span)
    return resample(image, x, y, columns, rows, (side, side))


def _centre(extent: int, span: float) -> tuple[float, float]:
    """Start and length along one axis: all of it within 1 %, else the middle."""
    if extent <= span * (1 + FIELD_TOLERANCE):
        return 0.0, float(extent)
    return float(int((extent - span) / 2)), span


def _rows(members: Sequence[Member], named: bool, cases_told: Mapping[str, str]) -> pa.Table:
    count = len(members)
    keys = [digest_of([member.name]) for member in members]
    columns = {
        "key": pa.array(keys, pa.string()),
        **dict.fromkeys(PLACE[:2], pa.nulls(count, pa.int64())),
        **dict.fromkeys(PLACE[2:], pa.nulls(count, pa.float64())),
        "item": pa.array(range(count), pa.int64()),
        "member": pa.array([printable(m.name) if named else None for m in members], pa.string()),
    }
    found = (one.case or (cases_told.get(one.name) if named else None) for one in members)
    cases = [None if case is None else printable(case) for case in found]
    for name, values in (("case", cases), ("split", [one.split for one in members])):
        if any(value is not None for value in values):
            columns[name] = pa.array(values, pa.string())
    return pa.table(columns)
