"""Features that another program computed, as a store without images: held in memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoscope.core.contracts import GivenFeatures
from histoscope.core.data.labels import LabelTable
from histoscope.core.data.store import Store
from histoscope.core.errors import DataError
from histoscope.core.tables.names import Naming


@dataclass(frozen=True)
class GivenRows:
    """Features of sources that carry labels.

    Attributes:
        index: as of a store, without shards.
        features: float32, a row of the index each, (rows, dim).
    """

    index: pa.Table
    features: NDArray[np.float32]


class GivenStore(Store):
    """Sources of features with their labels, from which heads are learnt and scored.

    Args:
        path: where the files lie, for messages.
        domain: of the sources.
        given: the files.
        table: labels of the sources.
        rows: of those that carry one.
    """

    def __init__(
        self, path: Path, domain: str, given: GivenFeatures, table: LabelTable, rows: GivenRows
    ) -> None:
        self.path, self.given = path, given
        self.about = {"domain": domain, "sampling": given.sampling.model_dump(mode="json")}
        self._table, self._rows = table, rows

    @cached_property
    def index(self) -> pa.Table:
        """One row a sample."""
        return self._rows.index

    @cached_property
    def manifest(self) -> dict[str, dict[str, Any]]:
        """Paths and cases of all files, by the source's id."""
        return manifest_of(self.given)

    @property
    def naming(self) -> Naming:
        """What names of the files have in common with those of what was encoded."""
        return self.given.naming

    def tasks(self) -> list[str]:
        """The task of the labels."""
        return [self._table.task.name]

    def labels(self, name: str | None = None) -> LabelTable:
        """The labels. Raises DataError: of no such task."""
        if name not in (None, self._table.task.name):
            raise DataError(f"{self.path}: labels of {self._table.task.name!r}, not of {name!r}")
        return self._table

    def features(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Features of index rows, (rows, dim), in order."""
        held = self._rows.features
        return held if np.array_equal(rows, np.arange(len(held))) else held[rows]


def manifest_of(given: GivenFeatures) -> dict[str, dict[str, Any]]:
    """Path and case of each source by its id."""
    return {one.id: {"id": one.id, "path": one.path, "case": one.case} for one in given.sources}
