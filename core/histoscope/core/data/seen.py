"""Digests of what was seen: enough to know a case again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from histoscope.core.files import read_table, write_table

SEEN = ("histoscope.seen", 1)


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
