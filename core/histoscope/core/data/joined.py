"""Several stores read as one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoscope.core.data.labels import LabelTable
from histoscope.core.data.shard import Shard
from histoscope.core.data.store import ImageReader, Store
from histoscope.core.errors import DataError


def joined(stores: Sequence[Store]) -> Store:
    """The only store, or several of one domain, cut alike, as one.

    A case's name stands for one case in all of them.

    Raises:
        DataError: other domains or samplings, or a source that is in two of them.
    """
    return stores[0] if len(stores) == 1 else JoinedStore(stores)


class JoinedStore(Store):
    """Stores whose index rows follow one another; see :func:`joined`."""

    def __init__(self, stores: Sequence[Store]) -> None:
        first = stores[0]
        self._stores, self.path = list(stores), first.path
        for other in stores[1:]:
            for key, ours, theirs in (
                ("domain", first.domain, other.domain),
                ("sampling", _fields(first), _fields(other)),
            ):
                if ours != theirs:
                    raise DataError(
                        f"{first.path} and {other.path}: {key} differs ({_apart(ours, theirs)}); "
                        "prepare both alike"
                    )
        known = dict[str, Store]()
        for store in stores:
            for source in store.index.column("source").unique().to_pylist():
                if source in known:
                    raise DataError(f"{known[source].path} and {store.path}: both hold {source}")
                known[source] = store
        encodings = sorted({str(store.about["encoding"]) for store in stores})
        self.about: dict[str, Any] = {**first.about, "encoding": " and ".join(encodings)}

    @cached_property
    def index(self) -> pa.Table:
        """Rows of all stores, in order."""
        parts = [store.index.replace_schema_metadata(None) for store in self._stores]
        return pa.concat_tables(parts, promote_options="permissive")

    @cached_property
    def manifest(self) -> dict[str, dict[str, Any]]:
        """Rows of all manifests."""
        return {name: row for store in self._stores for name, row in store.manifest.items()}

    def tasks(self) -> list[str]:
        """Names of the label tables that any store has."""
        return sorted({name for store in self._stores for name in store.tasks()})

    def labels(self, name: str | None = None) -> LabelTable:
        """The label tables of a task, one below the other.

        Raises:
            DataError: as of one store, or their classes differ.
        """
        holding = [one for one in self._stores if name is None or name in one.tasks()]
        found = [store.labels(name) for store in holding or self._stores]
        task = found[0].task
        for store, table in zip(holding, found, strict=False):
            if table.task != task:
                raise DataError(f"{store.path}: labels of {task.name!r} have other classes")
        return LabelTable(task, pa.concat_tables(one.rows for one in found), "several stores")

    @cached_property
    def reader(self) -> ImageReader:
        """Reads images of all of them."""
        return JoinedReader(self._stores)

    @property
    def stores(self) -> Sequence[Store]:
        """Each by itself."""
        return self._stores


class JoinedReader(ImageReader):
    """Reads images by row of the joined index. Pickles as paths."""

    def __init__(self, stores: Sequence[Store]) -> None:
        self._readers = [store.reader for store in stores]
        self._first: NDArray[np.int64] = np.cumsum([0, *(len(store.index) for store in stores)])

    def __getstate__(self) -> dict[str, Any]:
        """As it is: its readers leave their open shards behind."""
        return dict(self.__dict__)

    def at(self, row: int) -> tuple[Shard, int]:
        """The shard of its store."""
        place = int(np.searchsorted(self._first, row, side="right")) - 1
        return self._readers[place].at(row - int(self._first[place]))


def _fields(store: Store) -> dict[str, Any]:
    """How its images were cut; what an older program did not know is as usual."""
    return store.sampling.model_dump(mode="json")


def _apart(ours: Any, theirs: Any) -> str:
    if not isinstance(ours, dict):
        return f"{ours}, {theirs}"
    return ", ".join(
        f"{key} {value} and {theirs.get(key)}"
        for key, value in ours.items()
        if theirs.get(key) != value
    )
