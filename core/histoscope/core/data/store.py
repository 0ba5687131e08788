"""A store: what ``prepare`` made of a folder. Index, labels, manifest, and shards of images.

Paths in a store are relative to it, so it works wherever it is moved to. ``store.json`` is
written last: a folder without it is not finished.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histoscope.core.contracts import Task
from histoscope.core.data.shard import Shard
from histoscope.core.errors import DataError
from histoscope.core.files import read_json, read_table

STORE = ("histoscope.store", 1)
INDEX = ("histoscope.index", 1)
LABELS = ("histoscope.labels", 1)
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

    @property
    def scale(self) -> Mapping[str, float]:
        """Physical scale of every image."""
        return dict(self.about["scale"])

    @cached_property
    def index(self) -> pa.Table:
        """One row a sample, corrupt ones included; columns in docs/formats.md."""
        return read_table(self.path / "index.parquet", *INDEX)

    def tasks(self) -> list[str]:
        """Names of the label tables."""
        return sorted(file.stem for file in (self.path / "labels").glob("*.parquet"))

    def labels(self, name: str | None = None) -> tuple[Task, pa.Table]:
        """A label table and its task.

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
        return read_labels(self.path / "labels" / f"{name}.parquet")

    def images(self, rows: Sequence[int] | NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
        """Decode the images of index rows, in the order given."""
        reader = ImageReader(self)
        for row in rows:
            yield reader.image(int(row))


def read_labels(path: Path) -> tuple[Task, pa.Table]:
    """Read a label table: column ``sample``, and ``label`` or one bool a class; null is unknown.

    Raises:
        DataError: no such table, or it breaks a rule of docs/formats.md.
    """
    table = read_table(path, *LABELS)
    metadata = table.schema.metadata or {}
    if not {b"task", b"classes", b"exclusive"} <= set(metadata):
        raise DataError(f"{path}: a label table without task, classes and exclusive")
    names = metadata[b"classes"].decode()
    classes = tuple(names.split("\n")) if names else ()
    task = Task(metadata[b"task"].decode(), classes, metadata[b"exclusive"] == b"true")
    fault = _class_fault(task) or _column_fault(task, table) or _row_fault(task, table)
    if fault:
        raise DataError(f"{path}: {fault}")
    return task, table


def _class_fault(task: Task) -> str | None:
    """What is wrong with the names of the classes, if anything."""
    for place, name in enumerate(task.classes):
        if not name or "\n" in name or (name == "sample" and not task.exclusive):
            return f"task {task.name!r}: no class may be called {name!r}; rename it"
        if name in task.classes[:place]:
            return f"task {task.name!r}: class {name!r} stands twice"
    return None


def _label_fields(task: Task) -> list[pa.Field]:
    if task.exclusive:
        columns = [pa.field("label", pa.string())]
    else:
        columns = [pa.field(name, pa.bool_()) for name in task.classes]
    return [pa.field("sample", pa.string(), nullable=False), *columns]


def _column_fault(task: Task, table: pa.Table) -> str | None:
    """What is wrong with the columns of a label table, if anything."""
    fields = _label_fields(task)
    wanted, found = [field.name for field in fields], table.column_names
    if sorted(wanted) != sorted(found):
        return f"labels of {task.name!r} have columns {', '.join(wanted)}, not {', '.join(found)}"
    for field in fields:
        kind = table.schema.field(field.name).type
        if kind != field.type:
            return f"column {field.name!r} is {kind}, not {field.type}"
    return None


def _row_fault(task: Task, table: pa.Table) -> str | None:
    """What is wrong with the first row of a label table that breaks a rule, if any does."""
    samples = table.column("sample")
    if samples.null_count:
        return f"row {pc.index(samples.is_null(), True).as_py() + 1} names no sample"
    if pc.count_distinct(samples).as_py() < len(samples):
        counts = samples.value_counts()
        twice = counts.filter(pc.greater(counts.field("counts"), 1))
        return f"sample {twice[0]['values']} stands twice; leave one row of it"
    if task.exclusive:
        labels = table.column("label")
        known = pc.is_in(labels, pa.array(task.classes, pa.string()))
        place = pc.index(pc.and_not(labels.is_valid(), known), True).as_py()
        if place >= 0:
            return (
                f"{labels[place].as_py()!r} of sample {samples[place]} is no class of "
                f"{task.name!r} ({', '.join(task.classes)})"
            )
    return None


def label_table(task: Task, samples: Any, values: Sequence[Any], origin: str) -> pa.Table:
    """A label table ready for ``write_table``; the task and its classes stand in the metadata.

    Args:
        task: what the labels answer.
        samples: sample ids.
        values: one column of class names, or one column of bool for each class.
        origin: who made it.

    Raises:
        DataError: a class has a name that the table cannot hold, or stands twice.
    """
    fault = _class_fault(task)
    if fault:
        raise DataError(fault)
    metadata = {
        "task": task.name,
        "classes": "\n".join(task.classes),
        "exclusive": str(task.exclusive).lower(),
        "origin": origin,
    }
    schema = pa.schema(_label_fields(task), metadata)
    return pa.table([samples, *values], schema=schema)


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
        """Decode one image; uint8 (height, width, 3), RGB.

        Raises:
            DataError: the sample is corrupt and has no image.
        """
        shard = int(self._shard[row])
        if shard < 0:
            raise DataError(f"{self._path}: index row {row} is a corrupt sample without an image")
        if shard not in self._open:
            self._open[shard] = Shard(self._path / self._names[shard])
        return self._open[shard].image(int(self._row[row]))
