"""One file of features as a reader: a patch is a sample whose image is its features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoscope.core.contracts import CorruptSample, Plan, Sample, Scalar
from histoscope.core.errors import UnreadableSource
from histoscope.domains.pathology.feature_files import FeatureHead, opened
from histoscope.domains.pathology.options import TileSampling
from histoscope.domains.pathology.thumbnail import Thumbnail
from histoscope.domains.pathology.tiling import PLACE

AT_ONCE = 4096  # rows
EMPTY = 250  # grey value of the ground where there is no picture
BY_STEP = "the step of the grid, as the file does not state it"


class FeatureReader:
    """Features of one slide.

    Args:
        path: of the file.
        head: what was found in it.
        sampling: how patches were cut.

    Raises:
        UnreadableSource: damaged since.
    """

    divisible = False

    def __init__(self, path: Path, head: FeatureHead, sampling: TileSampling) -> None:
        self._file, self._head, self.sampling = opened(path), head, sampling
        self._corners = np.zeros((head.rows, 0), np.int64)
        if "coords" in self._file:
            self._corners = self._file["coords"][:].astype(np.int64)
        self._side = head.side or _step(self._corners)

    @property
    def facts(self) -> Mapping[str, Scalar]:
        """What is known of the slide from the file of its features."""
        told: dict[str, Scalar] = {"reader": "features of another program"}
        if self._side is None:
            return told
        mpp, size = self._mpp(self._side), self._size(self._side)
        told |= {"width_level0_px": size[0], "height_level0_px": size[1]}
        told |= {"mpp_x": mpp[0], "mpp_y": mpp[1], "mpp_source": "features"}
        if self._head.side is None:
            told["side_of_patches"] = BY_STEP
        return told

    def _mpp(self, side: tuple[float, float]) -> tuple[float, float]:
        """Um per level-0 pixel."""
        whole = self.sampling.size_px * self.sampling.tile_mpp
        return self._head.level0_mpp or (whole / side[0], whole / side[1])

    def _size(self, side: tuple[float, float]) -> tuple[int, int]:
        """Of level 0, else as far as patches reach."""
        if self._head.size or not len(self._corners):
            return self._head.size or (1, 1)
        width, height = np.ceil(self._corners.max(axis=0) + side).astype(int).tolist()
        return width, height

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def plan(self) -> Plan:
        """One row a patch, with its place where the file has it."""
        count = self._head.rows
        columns: dict[str, pa.Array] = {
            "item": pa.nulls(count, pa.int64()),
            "member": pa.nulls(count, pa.string()),
        }
        if self._corners.shape[1] == 2 and self._side is not None:
            kinds = (np.int64, np.int64, np.float64, np.float64)
            values = [*self._corners.T, *(np.full(count, one) for one in self._side)]
            places = [pa.array(one.astype(kind)) for one, kind in zip(values, kinds, strict=True)]
        else:
            kinds_of = (pa.int64(), pa.int64(), pa.float64(), pa.float64())
            places = [pa.nulls(count, kind) for kind in kinds_of]
        rows = pa.table({**dict(zip(PLACE, places, strict=True)), **columns})
        return Plan(rows, reason="" if count else "no features in the file")

    def read(self, rows: pa.Table) -> Iterator[Sample | CorruptSample]:
        """Rows of features in the order of the plan, all or from its beginning."""
        for start in range(0, len(rows), AT_ONCE):
            try:
                part = self._file["features"][start : min(start + AT_ONCE, len(rows))]
            except OSError as fault:
                raise UnreadableSource(f"features cannot be read ({fault})") from None
            for one in np.asarray(part, np.float32):
                finite = np.isfinite(one).all()
                yield Sample(one) if finite else CorruptSample("features that are no numbers")

    def marks(self, rows: pa.Table) -> Sequence[str | None]:
        """None."""
        return [None] * len(rows)

    def overview(self, longest_px: int, wanted_um: float = 0.0) -> Thumbnail:
        """An empty ground of the slide's size: there is no picture of it."""
        width, height = self._size(self._side or (1, 1))
        scale = min(1.0, longest_px / max(width, height))
        shape = (max(1, round(height * scale)), max(1, round(width * scale)))
        image = np.full((*shape, 3), EMPTY, np.uint8)
        seen = np.ones(shape, np.bool_)
        return Thumbnail(image, seen, seen, (width / shape[1], height / shape[0]))


def _step(corners: NDArray[np.int64]) -> tuple[float, float] | None:
    """The most frequent distance of neighbouring columns and rows of corners."""
    if corners.shape[1] != 2 or not len(corners):
        return None
    steps = []
    for axis in corners.T:
        apart = np.diff(np.unique(axis))
        values, counts = np.unique(apart, return_counts=True)
        steps.append(float(values[counts.argmax()]) if len(values) else None)
    known = [one for one in steps if one]
    if not known:
        return None
    return steps[0] or known[0], steps[1] or known[0]
