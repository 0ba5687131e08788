"""Ids of samples, and the units that splits, intervals and "seen before" speak of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa

from histoscope.core.contracts import Source
from histoscope.core.files import read_table, write_table

SEEN = ("histoscope.seen", 1)


def sample_keys(source: Source, rows: pa.Table) -> list[str]:
    """Sample ids: the source's id and a key that is unique inside it."""
    keys = rows.column("key").to_pylist() if "key" in rows.column_names else range(len(rows))
    return [f"{source.id}:{key}" for key in keys]


def behind_ids(rows: pa.Table, ids: pa.Array) -> pa.Table:
    """Rows behind a column ``id``, which says what ``key`` did."""
    return rows.select([c for c in rows.column_names if c != "key"]).add_column(0, "id", ids)


def units(source: Source, ids: Sequence[str], cases: Sequence[str | None]) -> list[str]:
    """What splits, intervals and "seen before" speak of: the case, else the source or sample."""
    return [
        f"case:{case}"
        if case
        else f"sample:{sample}"
        if source.independent
        else f"source:{source.id}"
        for sample, case in zip(ids, cases, strict=True)
    ]


def digest_units(units: Iterable[str]) -> frozenset[str]:
    """Digests of cases, sources or samples, 16 hex digits: enough to know one again.

    Keyed by the program's name only, so that two of its files can be compared; a name short
    enough to guess can be guessed. No name stands in the file itself.
    """
    return frozenset(
        hashlib.blake2b(unit.encode(), digest_size=8, key=b"histoscope").hexdigest()
        for unit in set(units)
    )


def write_seen(folder: Path, seen: frozenset[str]) -> None:
    """Write ``seen.parquet``: one digest a row, sorted."""
    column = pa.array(sorted(seen), pa.string())
    write_table(folder / "seen.parquet", *SEEN, pa.table({"digest": column}))


def read_seen(folder: Path) -> frozenset[str]:
    """Read ``seen.parquet``."""
    return frozenset(read_table(folder / "seen.parquet", *SEEN).column("digest").to_pylist())
