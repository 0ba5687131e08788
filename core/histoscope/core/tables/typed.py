"""Small tables of a result: a CSV file, and what the report must know of its columns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from histoscope.core.contracts import Artefact, Column
from histoscope.core.files import write_csv

ARROW = {"text": pa.string(), "count": pa.int64(), "number": pa.float64(), "share": pa.float64()}


def write_typed_csv(
    path: Path, title: str, caption: str, columns: Mapping[Column, Any], task: str = ""
) -> Artefact:
    """Write a table that the report shows: columns and their values, None where nothing is.

    Args:
        path: of the file.
        title, caption, task: see :class:`Artefact`.
        columns: with their values.
    """
    arrays = {one.name: pa.array(values, ARROW[one.kind]) for one, values in columns.items()}
    write_csv(path, pa.table(arrays))
    return Artefact(path.name, "table", title, caption, tuple(columns), task)
