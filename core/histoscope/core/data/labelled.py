"""Samples of a store that carry a label."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histoscope.core.contracts import Task
from histoscope.core.data.labels import read_labels
from histoscope.core.data.selection import select
from histoscope.core.data.store import Store
from histoscope.core.errors import DataError, UsageError

UNKNOWN = -1


@dataclass(frozen=True)
class Labelled:
    """Labelled samples of a store.

    Attributes:
        rows: index rows.
        truth: class ids, (samples,); where classes are not exclusive 1, 0 or -1 (unknown) for
            each class, (samples, classes), at least one known in every row.
        units: what an interval resamples, one a sample.
        said: how they were chosen.
    """

    rows: NDArray[np.int64]
    truth: NDArray[np.int64]
    units: list[str]
    said: str

    def told(self, store: Store, task: Task, places: NDArray[np.int64] | None = None) -> list[str]:
        """Each sample's id with its label, for digests: other labels are other data."""
        chosen = np.arange(len(self.rows)) if places is None else places
        ids = store.index.column("id").take(self.rows[chosen]).to_pylist()
        labels = self.truth[chosen].tolist()
        return [f"{task.name}/{','.join(task.classes)}", *map("{}={}".format, ids, labels)]

    def present(self, task: Task) -> NDArray[np.bool_]:
        """Which classes at least one sample has, (classes,)."""
        if self.truth.ndim == 2:
            return np.asarray((self.truth == 1).any(axis=0))
        return np.isin(np.arange(len(task.classes)), self.truth)


def labelled_rows(
    store: Store, part: str, task: Task, labels: pa.Table, split: str | None
) -> Labelled:
    """Samples of a part that carry a label of the task.

    Raises:
        DataError: no sample of the part has a label.
    """
    chosen = select(store, part, split)
    truth = _truth(store, chosen.rows, task, labels)
    kept = truth >= 0 if task.exclusive else (truth >= 0).any(axis=1)
    if not kept.any():
        raise DataError(f"{store.path}: no sample of {chosen.said} has a label of {task.name!r}")
    rows = chosen.rows[kept]
    units = store.index.column("unit").take(rows).to_pylist()
    return Labelled(rows, truth[kept], units, chosen.said)


def _truth(
    store: Store, rows: NDArray[np.int64], task: Task, labels: pa.Table
) -> NDArray[np.int64]:
    """As :attr:`Labelled.truth`, of rows that may have no label."""
    ids = store.index.column("id").take(rows)
    found = pc.index_in(ids, value_set=labels.column("sample").combine_chunks())
    if task.exclusive:
        classes = pa.array(task.classes, pa.string())
        numbers = pc.index_in(labels.column("label").take(found), value_set=classes)
        return np.asarray(pc.fill_null(numbers, UNKNOWN).to_numpy(), np.int64)
    columns = [
        pc.fill_null(labels.column(name).take(found).cast(pa.int64()), UNKNOWN).to_numpy()
        for name in task.classes
    ]
    return np.asarray(np.stack(columns, axis=1), np.int64)


def class_ids(
    store: Store, rows: NDArray[np.int64], task: Task, labels: pa.Table
) -> NDArray[np.int64]:
    """Class ids of index rows, -1 where unknown, (rows,).

    Raises:
        DataError: the task's classes are not exclusive, or no row has a label.
    """
    if not task.exclusive:
        raise DataError(f"{store.path}: {task.name!r} has several classes a sample")
    truth = _truth(store, rows, task, labels)
    if not (truth != UNKNOWN).any():
        raise DataError(f"{store.path}: none of {len(rows)} samples has a label of {task.name!r}")
    return truth


def tasks_of(
    store: Store, names: tuple[str, ...], file: Path | None
) -> list[tuple[Task, pa.Table]]:
    """The label tables to use: those named, a file's, or the store's only one.

    Raises:
        UsageError: a file and names, or a name twice.
        DataError: no such task, or several and none named.
    """
    if file:
        if names:
            raise UsageError("give either --task or --labels")
        return [read_labels(file)]
    if len(set(names)) < len(names):
        raise UsageError(f"--task: a name stands twice ({', '.join(names)})")
    return [store.labels(name) for name in names] if names else [store.labels()]


def unit_name(units: list[str]) -> str:
    """What the units are: ``cases``, ``sources``, ``samples``, or a mixture, named."""
    kinds = sorted({unit.partition(":")[0] for unit in units})
    return " and ".join(f"{kind}s" for kind in kinds)
