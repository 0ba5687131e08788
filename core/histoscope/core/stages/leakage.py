"""Samples of an evaluation that look like one that the package has learnt from."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histoscope.core.data.given import GivenStore
from histoscope.core.data.store import Store
from histoscope.core.files import read_table
from histoscope.core.heads.contract import unit_rows
from histoscope.core.inference.features import features_of
from histoscope.core.inference.runner import Runner
from histoscope.core.packages.package import DRAWS, Package
from histoscope.core.progress import Progress

NEAR = 0.98  # cosine about the mean, from which a pair is looked at
LOOK_PX = 16
PLAIN = 10.0  # deviation in grey levels, up to which a picture is empty
SAME = 0.95  # correlation of two small pictures of one thing, at least
BLOCK = 1024  # samples that are compared at once


def leakage(
    package: Package,
    tasks: Sequence[str],
    store: Store,
    rows: NDArray[np.int64],
    features: NDArray[np.float32],
    of_rows: NDArray[np.int64],
    runner: Runner,
    progress: Progress,
) -> list[str]:
    """A caution where samples look like labelled ones of the draws, else nothing.

    The nearest by features is looked at, and counts where a small picture of it is the same. Only
    labelled samples that stand in this store can be compared.

    Of features of another program there is no picture, and nothing is said.

    Args:
        package: evaluated; its draws say what it learnt from.
        tasks: whose labels the head has learnt from.
        store: of the images.
        rows: index rows that are scored.
        features: of ``of_rows``, (rows, dim), by the package's first encoder.
        of_rows: sorted index rows, among them ``rows``.
        runner: of the first draw's encoder.
        progress: who is told.
    """
    if isinstance(store, GivenStore):
        return []
    drawn = read_table(package.folder / "draws.parquet", *DRAWS)
    its = pc.is_in(drawn.column("task"), value_set=pa.array(tasks))
    learnt = np.setdiff1d(_drawn_rows(drawn.filter(its), store), rows)
    if not len(learnt):
        return []
    theirs = features_of(runner, store, learnt, progress)[:, runner.usual]
    ours = features[np.searchsorted(of_rows, rows), runner.usual]
    found = look_alikes(store, rows, ours, learnt, theirs)
    if not len(found):
        return []
    return [
        f"LEAKAGE SUSPECTED: {len(found)} of {len(rows)} samples look like one of the "
        f"{len(learnt)} that the package learnt from"
    ]


def _drawn_rows(drawn: pa.Table, store: Store) -> NDArray[np.int64]:
    """Readable index rows of the samples and sources of draws, as far as they stand in a store."""
    index = store.index
    held = pc.is_in(index.column("id"), value_set=drawn.column("sample").combine_chunks())
    if "source" in drawn.column_names:
        sources = pc.drop_null(drawn.column("source")).combine_chunks()
        held = pc.or_(held, pc.is_in(index.column("source"), value_set=sources))
    held = pc.and_(held, index.column("shard").is_valid())
    return np.flatnonzero(held.to_numpy())


def look_alikes(
    store: Store,
    rows: NDArray[np.int64],
    ours: NDArray[np.float32],
    others: NDArray[np.int64],
    theirs: NDArray[np.float32],
) -> NDArray[np.int64]:
    """Those of ``rows`` whose nearest among ``others`` is the same picture.

    Args:
        store: of the images.
        rows, others: index rows.
        ours, theirs: their features, (rows, dim) and (others, dim).
    """
    centre = theirs.mean(axis=0)
    away = unit_rows(theirs, centre).T
    nearest, nearness = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.float32)
    for start in range(0, len(rows), BLOCK):
        part = slice(start, start + BLOCK)
        cosines = unit_rows(ours[part], centre) @ away
        nearest[part], nearness[part] = cosines.argmax(axis=1), cosines.max(axis=1)
    close = np.flatnonzero(nearness >= NEAR)
    if not len(close):
        return rows[close]
    image = store.reader.image
    pairs = zip(map(image, rows[close]), map(image, others[nearest[close]]), strict=True)
    same = [_is_same(_small(one), _small(other)) for one, other in pairs]
    return rows[close[np.array(same, bool)]]


def _is_same(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Whether two small pictures show one thing; empty ones, as of glass, show nothing."""
    if min(one.std(), other.std()) <= PLAIN:
        return False
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1]) >= SAME


def _small(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    return cv2.resize(image, (LOOK_PX, LOOK_PX), interpolation=cv2.INTER_AREA).astype(np.float64)
