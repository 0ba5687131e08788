"""Labels given by hand, for the label table of a store."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from histoscope.core.contracts import Task
from histoscope.core.data.store import Store
from histoscope.core.errors import UsageError
from histoscope.core.labels.gather import Hand, gather, hand_of
from histoscope.core.labels.question import question
from histoscope.core.progress import Progress


def take(
    store: Store,
    hands: Sequence[Hand],
    name: str | None,
    classes: Sequence[str],
    *,
    into_store: bool,
    later_wins: bool,
    progress: Progress,
) -> tuple[Task, pa.Table]:
    """What files say, joined to what the store's table says already.

    Args:
        store: whose samples are spoken of.
        hands: what the files say, in their order; the store's table was first.
        name: of the task; None: as the files say.
        classes: in order; empty: those of the store's table, else those that the files give.
        into_store: the table shall replace the store's.
        later_wins: as in :func:`gather`.
        progress: told each contradiction.

    Raises:
        UsageError: no task is named, or its table is one that ``prepare`` writes anew.
        DataError: as in :func:`gather`.
    """
    told = list(dict.fromkeys(hand.task for hand in hands if hand.task))
    name = name or (told[0] if told else None)
    if name is None:
        raise UsageError("the files do not say of which task they are: give --task NAME")
    before = store.labels(name) if name in store.tasks() else None
    if before and into_store and _origin(before[1]) == "prepare":
        raise UsageError(
            f"{store.path}: prepare writes its labels of {name!r} anew from the sources; give "
            "another --task, or --out FILE.parquet and that to --labels"
        )
    found = list(dict.fromkeys(kind for hand in hands for kind in hand.classes))
    given = list(classes) or ([] if before else found)
    task = question(store, name, given, several=before is None and not hands[0].exclusive)
    first = [hand_of(_origin(before[1]) or "the store", *before)] if before else []
    samples = store.index.column("id").to_pylist()
    table = gather(
        [*first, *hands], task, samples, str(store.path), later_wins=later_wins, progress=progress
    )
    return task, table


def _origin(table: pa.Table) -> str:
    return (table.schema.metadata or {}).get(b"origin", b"").decode()
