"""What became of each source of a folder, and the manifest."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from histoscope.core.contracts import Source
from histoscope.core.errors import DataError
from histoscope.core.files import read_json, write_csv
from histoscope.core.work.outcome import Outcome

OUTCOME = ("histoscope.outcome", 1)


def read_outcome(file: Path) -> Outcome:
    """Read one outcome."""
    body = read_json(file, *OUTCOME)
    fields = {key: body[key] for key in ("status", "samples", "corrupt", "reason")}
    return Outcome(source=Source(**body["source"]), **fields)


def read_outcomes(out: Path) -> list[Outcome]:
    """All outcomes of a folder, whichever shard made them, by root and path.

    Raises:
        DataError: there are none.
    """
    outcomes = [read_outcome(file) for file in sorted((out / "outcomes").glob("*.json"))]
    if not outcomes:
        raise DataError(f"{out}: no results here; give a folder that 'histoscope predict' wrote")
    return sorted(outcomes, key=lambda o: (o.source.root, o.source.path))


def write_manifest(out: Path) -> None:
    """Write ``manifest.csv`` from the outcomes: one row a source, with its reason."""
    outcomes = read_outcomes(out)
    text = pa.string()
    columns = {
        name: pa.array([getattr(o.source, name) for o in outcomes], text)
        for name in ("id", "path", "root", "case")
    }
    columns["status"] = pa.array([o.status for o in outcomes], text)
    columns["samples"] = pa.array([o.samples for o in outcomes], pa.int64())
    columns["corrupt"] = pa.array([o.corrupt for o in outcomes], pa.int64())
    columns["reason"] = pa.array([o.reason for o in outcomes], text)
    columns["note"] = pa.array([o.source.note for o in outcomes], text)
    write_csv(out / "manifest.csv", pa.table(columns))
