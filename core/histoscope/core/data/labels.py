"""Label tables: read, check, make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from histoscope.core.contracts import Level, Task
from histoscope.core.data.truth import UNKNOWN, Truth
from histoscope.core.errors import DataError, UsageError, near_word
from histoscope.core.files import read_table, write_table

LABELS = ("histoscope.labels", 2)
LEVELS = ("sample", "source")


@dataclass(frozen=True)
class LabelTable:
    """What is known of samples, or of sources, for one task.

    Attributes:
        task: the question; its level says of what the rows speak, and what their column is called.
        rows: column ``sample`` or ``source`` (ids), and ``label`` or one bool a class; null is
            unknown.
        origin: who said it.
    """

    task: Task
    rows: pa.Table
    origin: str = ""

    @classmethod
    def make(cls, task: Task, names: Any, values: Sequence[Any], origin: str) -> LabelTable:
        """A table of checked form.

        Args:
            task: what the labels answer.
            names: ids of samples or sources.
            values: one column of class names, or one column of bool for each class.
            origin: who made it.

        Raises:
            DataError: a class has a name that the table cannot hold, or stands twice.
        """
        if fault := _class_fault(task):
            raise DataError(fault)
        return cls(task, pa.table([names, *values], schema=pa.schema(_fields(task))), origin)

    @classmethod
    def read(cls, path: Path) -> LabelTable:
        """Read a file.

        Raises:
            DataError: no such table, or it breaks a rule of docs/formats.md.
        """
        rows = read_table(path, *LABELS)
        told = {key.decode(): text.decode() for key, text in (rows.schema.metadata or {}).items()}
        if not {"task", "classes", "exclusive"} <= set(told):
            raise DataError(f"{path}: a label table without task, classes and exclusive")
        task = _task(told)
        rows = rows.replace_schema_metadata(None)
        table = cls(task, rows, told.get("origin", ""))
        if fault := _class_fault(task) or _column_fault(table) or _row_fault(table):
            raise DataError(f"{path}: {fault}")
        return replace(table, rows=rows.select([field.name for field in _fields(task)]))

    def write(self, path: Path) -> None:
        """Write it to a file; the task stands in the metadata."""
        metadata = {
            "task": self.task.name,
            "classes": "\n".join(self.task.classes),
            "exclusive": str(self.task.exclusive).lower(),
            "level": self.task.level,
            "origin": self.origin,
        }
        write_table(path, *LABELS, self.rows.replace_schema_metadata(metadata))

    @property
    def names(self) -> pa.ChunkedArray:
        """Ids of samples or sources."""
        return self.rows.column(self.task.level)

    def values(self) -> Mapping[str, pa.ChunkedArray]:
        """Columns behind the ids: ``label``, or one a class."""
        return {name: self.rows.column(name) for name in self.rows.column_names[1:]}

    def known(self) -> frozenset[str]:
        """Samples or sources of which anything is known."""
        names = self.names.to_pylist()
        known = self.truth(self.names).known
        return frozenset(name for name, told in zip(names, known, strict=True) if told)

    def among(self, classes: Sequence[str]) -> LabelTable:
        """The same labels, of a task that has these classes only, in the table's order.

        Raises:
            UsageError: several may hold at once, a class that the task does not have, or one left
                out that has labels.
        """
        task = self.task
        if not task.exclusive:
            raise UsageError(f"--classes: {task.name!r} may have several at once, and needs all")
        for name in classes:
            if name not in task.classes:
                near = near_word(name, task.classes)
                raise UsageError(f"--classes: {name!r} is no class of {task.name!r}{near}")
        labels = self.rows.column("label").to_pylist()
        for name in task.classes:
            if name not in classes and name in labels:
                raise UsageError(
                    f"--classes: leaves out {name}, which {labels.count(name)} labels of "
                    f"{task.name!r} name; only a class without a label may be left out"
                )
        kept = tuple(name for name in task.classes if name in classes)
        return replace(self, task=replace(task, classes=kept))

    def truth(self, names: pa.Array | pa.ChunkedArray) -> Truth:
        """What is true of samples or sources, whether the table speaks of them or not.

        Args:
            names: their ids.
        """
        found = pc.index_in(names, value_set=self.names.combine_chunks())
        if self.task.exclusive:
            classes = pa.array(self.task.classes, pa.string())
            numbers = pc.index_in(self.rows.column("label").take(found), value_set=classes)
            return Truth(self.task, np.asarray(pc.fill_null(numbers, UNKNOWN), np.int64))
        columns = [
            np.asarray(pc.fill_null(column.take(found).cast(pa.int64()), UNKNOWN), np.int64)
            for column in (self.rows.column(name) for name in self.task.classes)
        ]
        return Truth(self.task, np.stack(columns, axis=1))


def _task(told: Mapping[str, str]) -> Task:
    """The task that a file's metadata names; those of older files are of samples."""
    classes = tuple(told["classes"].split("\n")) if told["classes"] else ()
    level = cast(Level, told.get("level", "sample"))
    return Task(told["task"], classes, told["exclusive"] == "true", level)


def _class_fault(task: Task) -> str | None:
    """What is wrong with the level or with the names of the classes, if anything."""
    if task.level not in LEVELS:
        return f"task {task.name!r}: labels of a {task.level!r}; known: {', '.join(LEVELS)}"
    for place, name in enumerate(task.classes):
        if not name or "\n" in name or (name == task.level and not task.exclusive):
            return f"task {task.name!r}: no class may be called {name!r}; rename it"
        if name in task.classes[:place]:
            return f"task {task.name!r}: class {name!r} stands twice"
    return None


def _fields(task: Task) -> list[pa.Field]:
    if task.exclusive:
        columns = [pa.field("label", pa.string())]
    else:
        columns = [pa.field(name, pa.bool_()) for name in task.classes]
    return [pa.field(task.level, pa.string(), nullable=False), *columns]


def _column_fault(table: LabelTable) -> str | None:
    """What is wrong with the columns of a label table, if anything."""
    fields, task = _fields(table.task), table.task
    wanted, found = [field.name for field in fields], table.rows.column_names
    if sorted(wanted) != sorted(found):
        return f"labels of {task.name!r} have columns {', '.join(wanted)}, not {', '.join(found)}"
    for field in fields:
        kind = table.rows.schema.field(field.name).type
        if kind != field.type:
            return f"column {field.name!r} is {kind}, not {field.type}"
    return None


def _row_fault(table: LabelTable) -> str | None:
    """What is wrong with the first row of a label table that breaks a rule, if any does."""
    names, task = table.names, table.task
    if names.null_count:
        place = pc.index(names.is_null(), True).as_py() + 1
        return f"row {place} names no {task.level}"
    if pc.count_distinct(names).as_py() < len(names):
        counts = names.value_counts()
        twice = counts.filter(pc.greater(counts.field("counts"), 1))
        return f"{task.level} {twice[0]['values']} stands twice; leave one row of it"
    if task.exclusive:
        labels = table.rows.column("label")
        known = pc.is_in(labels, pa.array(task.classes, pa.string()))
        place = pc.index(pc.and_not(labels.is_valid(), known), True).as_py()
        if place >= 0:
            return (
                f"{labels[place].as_py()!r} of {task.level} {names[place]} is no class of "
                f"{task.name!r} ({', '.join(task.classes)})"
            )
    return None
