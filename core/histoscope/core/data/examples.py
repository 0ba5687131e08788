"""Samples or sources of a store that carry a label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histoscope.core.contracts import Task
from histoscope.core.contracts.installed import load_domain
from histoscope.core.data.labels import LabelTable
from histoscope.core.data.selection import select
from histoscope.core.data.store import Store
from histoscope.core.data.stretches import stretches
from histoscope.core.data.truth import Truth
from histoscope.core.errors import DataError, UsageError
from histoscope.core.progress import Progress
from histoscope.core.tables.names import listed


class Context(NamedTuple):
    """What is read to answer examples.

    Attributes:
        rows: index rows, those of one bag after those of another.
        starts: where in ``rows`` each bag begins, and the end, (bags + 1,).
        places: which answer is that of each example, (examples,).
    """

    rows: NDArray[np.int64]
    starts: NDArray[np.int64]
    places: NDArray[np.int64]

    @classmethod
    def alone(cls, rows: NDArray[np.int64]) -> Context:
        """Samples, each by itself."""
        return cls(rows, np.arange(len(rows) + 1), np.arange(len(rows)))


@dataclass(frozen=True)
class Examples:
    """What few labels are drawn from and scores speak of: a sample, or a source with its samples.

    Attributes:
        truth: what is known, something of every example.
        names: ids of the samples or sources.
        rows: index rows, those of one example after those of another.
        starts: where in ``rows`` each begins, and the end, (examples + 1,).
        units: what an interval resamples, one an example.
        cases: case of each, None where unknown.
        sources: where each lies.
        said: how they were chosen.
    """

    truth: Truth
    names: Sequence[str]
    rows: NDArray[np.int64]
    starts: NDArray[np.int64]
    units: Sequence[str]
    cases: Sequence[str | None]
    sources: Sequence[str]
    said: str

    def __len__(self) -> int:
        return len(self.names)

    @property
    def task(self) -> Task:
        """The question that is answered."""
        return self.truth.task

    def take(self, places: NDArray[np.int64]) -> Examples:
        """Some of them."""
        parts = [self.rows[self.starts[at] : self.starts[at + 1]] for at in places]
        return Examples(
            self.truth.take(places),
            [self.names[at] for at in places],
            np.concatenate([np.zeros(0, np.int64), *parts]),
            np.cumsum([0, *map(len, parts)]),
            [self.units[at] for at in places],
            [self.cases[at] for at in places],
            [self.sources[at] for at in places],
            self.said,
        )

    def context(self, store: Store, among: NDArray[np.int64], ordered: bool) -> Context:
        """What a head reads of them: their own rows, or all of their sources; see in_sources."""
        if ordered:
            return in_sources(store, self.rows, among)
        return Context(self.rows, self.starts, np.arange(len(self)))

    def told(self) -> list[str]:
        """Each one's name with its label, for digests."""
        return self.truth.told(self.names)


def in_sources(store: Store, asked: NDArray[np.int64], among: NDArray[np.int64]) -> Context:
    """Samples among the others of their sources, in the order in which these were read.

    A bag is a source, or where it has gaps a stretch of it. A sample that could not be read is not
    there: those before and after it are neighbours, unless that is a gap.

    Args:
        store: of the samples.
        asked: their index rows.
        among: index rows that may be read, with all that are asked for.
    """
    among = np.sort(among)
    column = store.index.column("source").take(among).combine_chunks().dictionary_encode()
    number = column.indices.to_numpy()
    order = np.argsort(number, kind="stable")
    wanted = np.unique(number[np.searchsorted(among, asked)])
    order = order[np.isin(number[order], wanted)]
    rows, domain, starts = among[order], load_domain(store.domain), [0]
    for begin, end in pairwise([*np.flatnonzero(np.diff(number[order], prepend=-1)), len(order)]):
        starts += (begin + stretches(domain, store.index.take(rows[begin:end]))[1:]).tolist()
    by_row = np.argsort(rows)
    return Context(rows, np.array(starts), by_row[np.searchsorted(rows, asked, sorter=by_row)])


def labelled(store: Store, part: str, table: LabelTable, split: str | None) -> Examples:
    """Samples of a part, or sources with their samples there, that carry a label of the task.

    Raises:
        DataError: nothing of the part has a label, or a labelled source is of several cases.
    """
    chosen = select(store, part, split)
    task, index = table.task, store.index
    if task.level == "sample":
        kept = table.truth(index.column("id").take(chosen.rows)).known
        rows = chosen.rows[kept]
        starts = np.arange(len(rows) + 1)
        names = index.column("id").take(rows)
    else:
        rows, starts, names = _sources(store, chosen.rows, table)
    if not len(rows):
        raise DataError(
            f"{store.path}: no {task.level} of {chosen.said} has a label of {task.name!r}"
        )
    firsts = rows[starts[:-1]]
    return Examples(
        table.truth(names),
        names.to_pylist(),
        rows,
        starts,
        index.column("unit").take(firsts).to_pylist(),
        index.column("case").take(firsts).to_pylist(),
        index.column("source").take(firsts).to_pylist(),
        chosen.said,
    )


def _sources(
    store: Store, rows: NDArray[np.int64], table: LabelTable
) -> tuple[NDArray[np.int64], NDArray[np.int64], pa.Array]:
    """Rows of labelled sources, where each source begins among them, and the sources' ids."""
    column = store.index.column("source").take(rows).combine_chunks().dictionary_encode()
    number, sources = column.indices.to_numpy(), column.dictionary
    told = table.truth(sources).known
    order = np.argsort(number, kind="stable")
    order = order[told[number[order]]]
    rows, number = rows[order], number[order]
    begins = np.flatnonzero(np.diff(number, prepend=-1))
    starts = np.append(begins, len(rows))
    units = store.index.column("unit").take(rows).combine_chunks().dictionary_encode().indices
    for begin, end in pairwise(starts):
        if len(pc.unique(units[begin:end])) > 1:
            raise DataError(
                f"{store.path}: source {sources[number[begin]]} holds several cases; label its "
                "samples, or prepare one source a case"
            )
    return rows, starts, sources.take(pa.array(number[begins]))


def tables_of(store: Store, names: tuple[str, ...], file: Path | None) -> list[LabelTable]:
    """The label tables to use: those named, a file's, or the store's only one.

    Raises:
        UsageError: a file and names, or a name twice.
        DataError: no such task, or several and none named.
    """
    if file:
        if names:
            raise UsageError("give either --task or --labels")
        return [LabelTable.read(file)]
    if len(set(names)) < len(names):
        raise UsageError(f"--task: a name stands twice ({', '.join(names)})")
    return [store.labels(name) for name in names] if names else [store.labels()]


def note_mixed_cases(examples: Examples, progress: Progress) -> None:
    """Say which cases have sources of different classes that exclude each other."""
    task = examples.task
    if task.level != "source" or not task.exclusive:
        return
    held = dict[str, set[int]]()
    for case, kind in zip(examples.cases, examples.truth.values.tolist(), strict=True):
        if case is not None:
            held.setdefault(case, set()).add(kind)
    if mixed := sorted(case for case, kinds in held.items() if len(kinds) > 1):
        many = "1 case has" if len(mixed) == 1 else f"{len(mixed)} cases have"
        progress.say(f"noted: {many} sources of several classes of {task.name} ({listed(mixed)})")


def unit_name(units: Sequence[str]) -> str:
    """What the units are: ``cases``, ``sources``, ``samples``, or a mixture, named."""
    kinds = sorted({unit.partition(":")[0] for unit in units})
    return " and ".join(f"{kind}s" for kind in kinds)
