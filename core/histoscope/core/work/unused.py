"""What was given and is not used, and what was chosen: said in few lines, and recorded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from histoscope.core.contracts import Source, Unused
from histoscope.core.contracts.installed import Found
from histoscope.core.files import write_csv
from histoscope.core.progress import Progress
from histoscope.core.tables.names import SHOWN, listed

FILE = "unused.csv"
COLUMNS = pa.schema([("kind", pa.string()), ("name", pa.string()), ("reason", pa.string())])


def say_found(found: Found, progress: Progress) -> None:
    """What was noted of sources, and what is not used."""
    _say_notes(found.sources, progress)
    _say_unused(found.unused, progress)


def _say_notes(sources: Sequence[Source], progress: Progress) -> None:
    """One line a note, of the first few; the manifest has all."""
    noted = dict[str, list[str]]()
    for source in sources:
        if source.note:
            noted.setdefault(source.note, []).append(source.path)
    for note, paths in list(noted.items())[:SHOWN]:
        progress.say(f"noted: {listed(paths)}: {note}")
    if len(noted) > SHOWN:
        progress.say(f"noted: {len(noted) - SHOWN} more such notes; see manifest.csv")


def _say_unused(unused: Sequence[Unused], progress: Progress) -> None:
    """One line a kind: how many, the first names, and why."""
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
