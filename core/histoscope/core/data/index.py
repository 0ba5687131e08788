"""Ids of samples, and the units that splits and intervals speak of."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from histoscope.core.contracts import Source


def sample_keys(source: Source, rows: pa.Table) -> list[str]:
    """Sample ids: the source's id and a key that is unique inside it."""
    if "key" in rows.column_names:
        return [f"{source.id}:{key}" for key in rows.column("key").to_pylist()]
    return [f"{source.id}:{place}" for place in range(len(rows))]


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
