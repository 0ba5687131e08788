"""Label tables: read, check, make."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from histoscope.core.contracts import Task
from histoscope.core.errors import DataError
from histoscope.core.files import read_table

LABELS = ("histoscope.labels", 1)


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
