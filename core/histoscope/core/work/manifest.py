"""The manifest: one row a source, with its reason."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from histoscope.core.data.store import MANIFEST
from histoscope.core.files import write_csv, write_table
from histoscope.core.work.outcome import Outcome


def write_manifest(out: Path, outcomes: Sequence[Outcome]) -> None:
    """Write ``manifest.parquet`` and ``manifest.csv``, rows in the order given."""
    text, number = pa.string(), pa.int64()
    sources = [outcome.source for outcome in outcomes]
    facts = [json.dumps(dict(o.facts)) if o.facts else None for o in outcomes]
    table = pa.table(
        {
            **{
                name: pa.array([getattr(source, name) for source in sources], text)
                for name in ("id", "path", "root", "case", "split")
            },
            "status": pa.array([o.status for o in outcomes], text),
            "samples": pa.array([o.samples for o in outcomes], number),
            "corrupt": pa.array([o.corrupt for o in outcomes], number),
            "reason": pa.array([o.reason for o in outcomes], text),
            "note": pa.array([source.note for source in sources], text),
            "facts": pa.array(facts, text),
        }
    )
    write_table(out / "manifest.parquet", *MANIFEST, table)
    write_csv(out / "manifest.csv", table)
