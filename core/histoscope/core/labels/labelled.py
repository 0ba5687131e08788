"""Samples of a store that carry a label."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histoscope.core.contracts import Task
from histoscope.core.data.selection import select
from histoscope.core.data.store import Store, read_labels
from histoscope.core.errors import DataError


@dataclass(frozen=True)
class Labelled:
    """Labelled samples of a store.

    Attributes:
        rows: index rows.
        truth: class ids, (samples,).
        units: what an interval resamples, one a sample.
        said: how they were chosen.
    """

    rows: NDArray[np.int64]
    truth: NDArray[np.int64]
    units: list[str]
    said: str


def labelled_rows(
    store: Store,
    part: str,
    task: Task,
    labels: pa.Table,
    split: str | None,
) -> Labelled:
    """Samples of a part that carry a label of the task, with class ids.

    Raises:
        DataError: no sample of the part has a label.
    """
    chosen = select(store, part, split)
    ids = store.index.column("id").take(chosen.rows)
    found = pc.index_in(ids, value_set=labels.column("sample").combine_chunks())
    values = labels.column("label").take(found)
    numbers = pc.index_in(values, value_set=pa.array(task.classes, pa.string()))
    truth = pc.fill_null(numbers, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    kept = truth >= 0
    if not kept.any():
        raise DataError(f"{store.path}: no sample of {chosen.said} has a label of {task.name!r}")
    rows = chosen.rows[kept]
    return Labelled(
        rows, truth[kept], store.index.column("unit").take(rows).to_pylist(), chosen.said
    )


def task_of(store: Store, name: str | None, file: Path | None) -> tuple[Task, pa.Table]:
    """The label table to use: the store's, or a file's."""
    return read_labels(file) if file else store.labels(name)


def unit_name(units: list[str]) -> str:
    """What the units are: ``cases``, ``sources``, ``samples``, or a mixture, named."""
    kinds = sorted({unit.partition(":")[0] for unit in units})
    return " and ".join(f"{kind}s" for kind in kinds)
