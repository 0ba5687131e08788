"""Which unlabelled samples of a store are most worth a label."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoscope.core import __version__
from histoscope.core.contracts import Task
from histoscope.core.contracts.installed import load_domain
from histoscope.core.data.examples import Context, in_sources, unit_name
from histoscope.core.data.selection import select
from histoscope.core.data.store import Store
from histoscope.core.errors import DataError, UsageError
from histoscope.core.files import write_csv, write_json
from histoscope.core.heads.contract import Bags, Head, is_ordered
from histoscope.core.inference.features import features_of
from histoscope.core.inference.runner import Runner
from histoscope.core.labelling.diverse import Chosen, Method, choose
from histoscope.core.progress import Progress

SUGGEST = ("histoscope.suggest", 1)


@dataclass(frozen=True)
class Suggestions:
    """Samples to label.

    Attributes:
        task: what their labels shall answer.
        method: how they were chosen.
        rows: their rows in the index, the most worth first.
        table: what ``suggested.csv`` holds.
        read, turns: what was read and what takes turns, in words.
        labelled: how many samples have a label already.
    """

    task: Task
    method: Method
    rows: NDArray[np.int64]
    table: pa.Table
    read: str
    turns: str
    labelled: int

    def write(self, out: Path) -> None:
        """Write ``suggest.json`` and ``suggested.csv``."""
        body = {
            "task": self.task.name,
            "exclusive": self.task.exclusive,
            "classes": list(self.task.classes),
            "method": self.method,
            "suggested": len(self.rows),
            "labelled": self.labelled,
            "read": self.read,
            "turns": self.turns,
            "program": __version__,
        }
        write_json(out / "suggest.json", *SUGGEST, body)
        write_csv(out / "suggested.csv", self.table)


def suggest(
    store: Store,
    runner: Runner,
    task: Task,
    labelled: Collection[str],
    count: int,
    *,
    head: Head | None = None,
    method: Method = "core-set",
    split: str | None = None,
    marked: bool = False,
    progress: Progress,
) -> Suggestions:
    """Choose samples of the ``train`` part; near duplicates are left out.

    Args:
        store: where from.
        runner: of the encoder whose features say what is alike.
        task: what the labels shall answer.
        labelled: ids of samples that have a label.
        count: how many are wanted.
        head: of a model that answers the task: what it is sure of is worth less.
        method: how they are chosen (decision 0009).
        split: ``FILE:PART`` or ``NAME:PART`` instead of the store's split.
        marked: also samples that carry a mark.
        progress: who is told.

    Raises:
        UsageError: the task is not of samples.
        DataError: nothing is left to label.
    """
    if task.level != "sample":
        raise UsageError(f"suggest chooses samples; {task.name!r} asks of a {task.level}")
    chosen = select(store, "train", split, marked=marked, way="--marked reads them")
    ids = store.index.column("id").take(chosen.rows).to_pylist()
    known = np.array([sample in labelled for sample in ids], np.bool_)
    if known.all():
        raise DataError(
            f"{store.path}: every sample of {chosen.said} has a label of {task.name!r} already"
        )
    units = store.index.column("unit").take(chosen.rows).to_pylist()
    turns = _turns(units)
    progress.say(f"suggest reads {chosen.said}; {int(known.sum())} have a label; {turns}")
    read = Context.alone(chosen.rows)
    if head is not None and is_ordered(head):
        read = in_sources(store, chosen.rows, select(store, "train", split).rows)
    features = features_of(runner, store, read.rows, progress)
    bags = Bags(features, read.starts)
    doubt = None if head is None else uncertainty(head, bags)[read.places]
    alike = features[read.places][:, runner.usual]
    found = choose(alike, units, known, count, method=method, uncertainty=doubt)
    if len(found) < count:
        progress.say(f"only {len(found)} are left that are neither labelled nor near duplicates")
    rows = chosen.rows[[one.place for one in found]]
    table = _table(store, rows, found, doubt)
    return Suggestions(task, method, rows, table, chosen.said, turns, int(known.sum()))


def uncertainty(head: Head, bags: Bags) -> NDArray[np.float64]:
    """How little a head prefers one answer, 0 (sure) to 1, one an answer.

    Exclusive classes: one less the margin between the two best. Other classes: of the class that
    lies nearest to its threshold, how near, as a part of the way from the threshold to 0 or 1.
    """
    values = head.probabilities(bags).astype(np.float64)
    if head.exclusive:
        ranked = np.sort(values, axis=1)
        return np.asarray(1 - (ranked[:, -1] - ranked[:, -2]))
    cut = head.cut.astype(np.float64)
    way = np.where(values < cut, cut, 1 - cut)
    away = np.abs(values - cut) / np.maximum(way, np.finfo(np.float64).tiny)
    return np.asarray(1 - away.min(axis=1))


def _turns(units: list[str]) -> str:
    """What takes turns, and what could not be known."""
    kinds = {unit.partition(":")[0] for unit in units}
    if kinds == {"case"}:
        return f"one a case before two ({len(set(units))} cases)"
    if kinds == {"sample"}:
        return "cases are unknown: every sample stands for itself"
    named = unit_name(units)
    return f"cases are unknown: one a source before two ({len(set(units))} {named})"


def _table(
    store: Store, rows: NDArray[np.int64], found: list[Chosen], doubt: NDArray[np.float64] | None
) -> pa.Table:
    index = store.index.take(rows)
    places = [one.place for one in found]
    location = [field.name for field in load_domain(store.domain).location]
    doubts = [None] * len(found) if doubt is None else doubt[places]
    columns = {
        "rank": pa.array(range(1, len(found) + 1), pa.int64()),
        **{name: index.column(name) for name in ("id", "source", "case")},
        **{name: index.column(name) for name in location},
        "uncertainty": pa.array(doubts, pa.float64()),
        "why": pa.array([one.why for one in found], pa.string()),
    }
    return pa.table(columns)
