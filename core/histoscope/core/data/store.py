"""A store: what ``prepare`` made of a folder. Index, labels, manifest, and shards of images.

Paths in a store are relative to it, so it works wherever it is moved to. ``store.json`` is
written last: a folder without it is not finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoscope.core.contracts import Sampling
from histoscope.core.contracts.installed import load_domain, sampling_of
from histoscope.core.data.labels import LabelTable
from histoscope.core.data.shard import Shard
from histoscope.core.errors import DataError
from histoscope.core.files import read_json, read_table
from histoscope.core.tables.names import Naming

STORE = ("histoscope.store", 2)
INDEX = ("histoscope.index", 1)
MANIFEST = ("histoscope.manifest", 1)


class Store:
    """A finished store, opened for reading.

    Args:
        path: the store's folder.

    Raises:
        DataError: not a store, or not finished.
    """

    def __init__(self, path: Path) -> None:
        if not (path / "store.json").is_file():
            hint = (
                "prepare was interrupted: run the same command again"
                if (path / "sources").is_dir()
                else "give a folder that 'histoscope prepare' wrote"
            )
            raise DataError(f"{path}: no finished store ({hint})")
        self.path = path
        self.about: dict[str, Any] = read_json(path / "store.json", *STORE)

    @property
    def domain(self) -> str:
        """Name of the domain that made it."""
        return str(self.about["domain"])

    @cached_property
    def sampling(self) -> Sampling:
        """How its images were cut, which says their physical scale."""
        return sampling_of(self.domain, self.about, str(self.path))

    @cached_property
    def index(self) -> pa.Table:
        """One row a sample, corrupt ones included; columns in docs/formats.md."""
        return read_table(self.path / "index.parquet", *INDEX)

    @cached_property
    def manifest(self) -> dict[str, dict[str, Any]]:
        """Rows of the manifest by the source's id; columns in docs/formats.md."""
        rows = read_table(self.path / "manifest.parquet", *MANIFEST).to_pylist()
        return {row["id"]: row for row in rows}

    def tasks(self) -> list[str]:
        """Names of the label tables."""
        return sorted(file.stem for file in (self.path / "labels").glob("*.parquet"))

    def labels(self, name: str | None = None) -> LabelTable:
        """A label table.

        Args:
            name: the task; None takes the only one.

        Raises:
            DataError: none there, several without a name, or no such task.
        """
        names = self.tasks()
        if name is None and len(names) == 1:
            name = names[0]
        if not names:
            raise DataError(f"{self.path}: no labels in this store; give --labels FILE")
        if name is None or name not in names:
            asked = "several tasks" if name is None else f"no task {name!r}"
            raise DataError(f"{self.path}: {asked}; give --task with one of: {', '.join(names)}")
        return LabelTable.read(self.path / "labels" / f"{name}.parquet")

    @property
    def naming(self) -> Naming:
        """What names of its sources' files have in common."""
        return load_domain(self.domain).naming

    @property
    def stores(self) -> Sequence[Store]:
        """Those that it is made of: itself."""
        return [self]

    @cached_property
    def reader(self) -> ImageReader:
        """Reads its images, in this process."""
        return ImageReader(self)


class ImageReader:
    """Reads images of a store by index row. Pickles as a path: shards open on first use."""

    def __init__(self, store: Store) -> None:
        self._path = store.path
        shards = store.index.column("shard").combine_chunks().dictionary_encode()
        self._names: list[str] = shards.dictionary.to_pylist()
        self._shard = shards.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        rows = store.index.column("row").combine_chunks()
        self._row = rows.fill_null(-1).to_numpy(zero_copy_only=False)
        self._open: dict[int, Shard] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open shards behind."""
        return {**self.__dict__, "_open": {}}

    def image(self, row: int) -> NDArray[np.uint8]:
        """Decode one image; uint8 (height, width, 3), RGB. Raises as :meth:`data`."""
        shard, place = self.at(row)
        return shard.image(place)

    def images(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Decode images of one size, (rows, height, width, 3), in order."""
        return np.stack([self.image(int(row)) for row in rows])

    def data(self, row: int) -> bytes:
        """One image as the store keeps it; raises as :meth:`at`, or its shard is damaged."""
        shard, place = self.at(row)
        return shard.data(place)

    def at(self, row: int) -> tuple[Shard, int]:
        """The shard of an index row, open, and the row in it.

        Raises:
            DataError: the sample is corrupt and has no image, or its shard is damaged or gone.
        """
        shard = int(self._shard[row])
        if shard < 0:
            raise DataError(f"{self._path}: index row {row} is a corrupt sample without an image")
        if shard not in self._open:
            self._open[shard] = Shard(self._path / self._names[shard])
        return self._open[shard], int(self._row[row])
