"""What became of a source: the one record that closes its folder, and its row of the manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from histoscope.core.contracts import Scalar, Source
from histoscope.core.data.store import MANIFEST
from histoscope.core.files import read_json, write_csv, write_json, write_table
from histoscope.core.progress import Progress

OUTCOME = ("histoscope.outcome", 2)
DONE = "done.json"  # closes the folder of a source

Status = Literal["done", "empty", "failed"]


@dataclass(frozen=True)
class Outcome:
    """What became of one source.

    Attributes:
        source: which one.
        status: ``done``; ``empty``: readable, but no sample came of it; ``failed``.
        samples: images read.
        corrupt: samples that could not be read.
        reason: why failed or empty, or what was left out; one line.
        facts: what its reader said of it, None where it could not be opened.
        more: what a stage adds for those who read its results.
    """

    source: Source
    status: Status
    samples: int = 0
    corrupt: int = 0
    reason: str = ""
    facts: Mapping[str, Scalar] | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


def write_outcome(file: Path, outcome: Outcome) -> None:
    """Close a source's folder; what the user told of the source is not written."""
    body = asdict(replace(outcome, source=replace(outcome.source, told=None)))
    del body["source"]["told"]
    more = body.pop("more")
    write_json(file, *OUTCOME, {**body, **more})


def read_outcome(file: Path) -> Outcome:
    """Read one record.

    Raises:
        DataError: damaged, or of another program's version.
    """
    body = read_json(file, *OUTCOME)
    known = {name: body.pop(name) for name in ("status", "samples", "corrupt", "reason", "facts")}
    source = Source(**body.pop("source"))
    more = {name: value for name, value in body.items() if name not in ("format", "version")}
    return Outcome(source, **known, more=more)


def still_good(
    sources: Sequence[Source], before: Mapping[str, Outcome], progress: Progress
) -> dict[str, Outcome]:
    """Outcomes of earlier calls that stand, by source; a source that was told otherwise has none.

    Args:
        sources: of this call.
        before: by source's id what is done or empty.
        progress: told how many.
    """
    good = {
        source.id: replace(before[source.id], source=source)
        for source in sources
        if source.id in before and source.as_before(before[source.id].source)
    }
    if good:
        progress.say(f"{len(good)} of {len(sources)} sources are done already")
    if len(good) < len(before):
        progress.say(
            f"{len(before) - len(good)} are done again: what was given about them has changed "
            "(labels, drawings, cases or scale)"
        )
    return good


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
