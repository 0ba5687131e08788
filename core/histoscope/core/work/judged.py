"""Rows of a source with what reading said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from histoscope.core.contracts import Reader


def judged(
    rows: pa.Table, status: Sequence[str], quality: Sequence[Mapping[str, float]], reader: Reader
) -> pa.Table:
    """Rows with what reading measured (one column a quality), ``status`` and ``mark``."""
    for name in sorted({key for measured in quality for key in measured}):
        values = [measured.get(name) for measured in quality]
        rows = rows.append_column(name, pa.array(values, pa.float64()))
    rows = rows.append_column("status", pa.array(status, pa.string()))
    marks = list(reader.marks(rows)) if len(rows) else []
    return rows.append_column("mark", pa.array(marks, pa.string()))
