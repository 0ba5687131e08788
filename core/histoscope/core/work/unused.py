"""What was given and is not used: said in one line a kind, and listed beside the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from histoscope.core.contracts import Unused
from histoscope.core.files import write_csv
from histoscope.core.progress import Progress
from histoscope.core.tables.names import listed

FILE = "unused.csv"
COLUMNS = pa.schema([("kind", pa.string()), ("name", pa.string()), ("reason", pa.string())])


def say_unused(unused: Sequence[Unused], progress: Progress) -> None:
    """One line a kind: how many, the first names, and why the first is not used."""
    for kind in dict.fromkeys(one.kind for one in unused):
        mine = [one for one in unused if one.kind == kind]
        names = listed([one.name for one in mine])
        reasons = listed(list(dict.fromkeys(one.reason for one in mine)))
        progress.say(f"not used: {len(mine)} {kind} ({names}): {reasons}")


def write_unused(folder: Path, unused: Sequence[Unused]) -> None:
    """Write ``unused.csv``, or remove that of an earlier call."""
    if not unused:
        (folder / FILE).unlink(missing_ok=True)
        return
    rows = [{"kind": one.kind, "name": one.name, "reason": one.reason} for one in unused]
    write_csv(folder / FILE, pa.Table.from_pylist(rows, COLUMNS))
