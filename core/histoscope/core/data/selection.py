"""Which samples a command may read: by split, from the store or from a file of the user's."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histoscope.core.data.store import Store
from histoscope.core.errors import DataError, UsageError

PARTS = ("train", "valid", "test")


@dataclass(frozen=True)
class Selection:
    """Index rows that a command reads, and one sentence that says how they were chosen."""

    rows: NDArray[np.int64]
    said: str


def select(store: Store, part: str, given: str | None = None) -> Selection:
    """Readable samples of one part.

    Args:
        store: where from.
        part: ``train``, ``valid`` or ``test``; what the command reads by itself.
        given: ``FILE:PART``; FILE is a CSV with ``split`` and one of ``case``, ``source``, ``id``.

    Raises:
        UsageError: ``given`` is not ``FILE:PART``.
        DataError: nothing is left.
    """
    index = store.index
    readable = pc.equal(index.column("status"), "ok").combine_chunks()
    splits = index.column("split")
    if given:
        file, _, part = given.rpartition(":")
        if not file or part not in PARTS:
            raise UsageError(f"--split {given}: expected FILE:PART, PART one of {', '.join(PARTS)}")
        wanted = _by_file(index, Path(file), part)
        said = f"{part} of {file}"
    elif splits.null_count == len(splits):
        wanted = pa.array(np.ones(len(index), dtype=bool))
        said = f"all samples (the store has no split; --split FILE:{part} would choose)"
    else:
        wanted = pc.fill_null(pc.equal(splits, part), False).combine_chunks()
        said = f"the {part} split"
    rows = np.flatnonzero(pc.and_(readable, wanted).to_numpy(zero_copy_only=False))
    if not len(rows):
        raise DataError(f"{store.path}: no readable sample in {said}")
    return Selection(rows.astype(np.int64), f"{said}: {len(rows)} samples")


def _by_file(index: pa.Table, file: Path, part: str) -> pa.Array:
    try:
        with file.open(encoding="utf-8-sig", newline="") as handle:
            rows = list(csv.DictReader(handle))
    except (FileNotFoundError, UnicodeDecodeError) as fault:
        raise DataError(f"{file}: cannot be read as CSV ({fault})") from None
    keys = [key for key in ("id", "source", "case") if rows and key in rows[0]]
    if not rows or "split" not in rows[0] or not keys:
        raise DataError(f"{file}: needs the columns 'split' and one of 'case', 'source', 'id'")
    values = pa.array([row[keys[0]] for row in rows if row["split"] == part], pa.string())
    return pc.is_in(index.column(keys[0]).combine_chunks(), value_set=values)
