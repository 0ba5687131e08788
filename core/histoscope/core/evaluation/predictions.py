"""What each draw said of each example that was scored: a table beside ``metrics.json``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoscope.core.contracts import Task
from histoscope.core.data.examples import Examples
from histoscope.core.data.truth import UNKNOWN, Truth
from histoscope.core.evaluation.units import Units
from histoscope.core.files import read_table, write_table

PREDICTIONS = ("histoscope.scored", 1)


@dataclass(frozen=True)
class Predictions:
    """Of one evaluation and task.

    Attributes:
        names: of the examples.
        truth: of them.
        units: that are resampled.
        scores: (examples, classes) for each draw.
    """

    names: Sequence[str]
    truth: Truth
    units: Units
    scores: Sequence[NDArray[np.float32]]


def file_of(folder: Path, task: str) -> Path:
    """Where the table of a task lies in an evaluation."""
    return folder / f"scored-{task}.parquet"


def write_predictions(folder: Path, test: Examples, scores: Sequence[NDArray[np.float32]]) -> None:
    """Write one row an example: its unit, what is true, and each draw's scores of each class."""
    classes, values = test.task.classes, test.truth.values
    columns = {"id": pa.array(list(test.names)), "unit": pa.array(list(test.units))}
    if test.task.exclusive:
        columns["truth"] = pa.array([classes[one] for one in values.tolist()])
    else:
        for place, name in enumerate(classes):
            known = values[:, place] != UNKNOWN
            columns[f"truth:{name}"] = pa.array(values[:, place] == 1, mask=~known)
    for draw, given in enumerate(scores):
        for place, name in enumerate(classes):
            columns[f"score:{draw}:{name}"] = pa.array(given[:, place], pa.float32())
    write_table(file_of(folder, test.task.name), *PREDICTIONS, pa.table(columns))


def read_predictions(folder: Path, task: Task, draws: int) -> Predictions:
    """What :func:`write_predictions` wrote.

    Raises:
        DataError: absent (an evaluation of an older program), or damaged.
    """
    table = read_table(file_of(folder, task.name), *PREDICTIONS)
    if task.exclusive:
        places = {name: place for place, name in enumerate(task.classes)}
        values = np.array([places[one] for one in table.column("truth").to_pylist()], np.int64)
    else:
        told = [table.column(f"truth:{name}").cast(pa.int64()) for name in task.classes]
        values = np.stack([one.fill_null(UNKNOWN).to_numpy() for one in told], axis=1)
    scores = [
        np.stack([table.column(f"score:{draw}:{name}").to_numpy() for name in task.classes], axis=1)
        for draw in range(draws)
    ]
    units = Units.of(table.column("unit").to_pylist())
    return Predictions(table.column("id").to_pylist(), Truth(task, values), units, scores)
