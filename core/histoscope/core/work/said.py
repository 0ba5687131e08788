"""What is said of sources, in few lines: what was chosen, what is left out, what is not used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa

from histoscope.core.contracts import Unused
from histoscope.core.contracts.installed import Found
from histoscope.core.files import write_csv
from histoscope.core.progress import Progress
from histoscope.core.tables.names import SHOWN, listed

FILE = "unused.csv"
COLUMNS = pa.schema([("kind", pa.string()), ("name", pa.string()), ("reason", pa.string())])


def say_found(found: Found, progress: Progress) -> None:
    """What was noted of sources, and what is not used."""
    say_alike([(source.path, source.note) for source in found.sources], progress)
    _say_unused(found.unused, progress)


def say_alike(told: Iterable[tuple[str, str]], progress: Progress) -> None:
    """What is told of sources: those of which the same is told in one line, and few lines in all.

    Args:
        told: path of a source, and what is told of it, empty where nothing is.
        progress: who is told.
    """
    same = dict[str, list[str]]()
    for path, text in told:
        if text:
            same.setdefault(text, []).append("the input" if path == "." else path)
    for text, paths in list(same.items())[:SHOWN]:
        progress.say(f"noted: {listed(paths)}: {text}")
    if len(same) > SHOWN:
        progress.say(f"noted: {len(same) - SHOWN} more such lines; see manifest.csv")


def _say_unused(unused: Sequence[Unused], progress: Progress) -> None:
    """One line a kind: how many, the first names, and why."""
    for kind in dict.fromkeys(one.kind for one in unused):
        mine = [one for one in unused if one.kind == kind]
        names = listed([one.name for one in mine])
        reasons = list(dict.fromkeys(one.reason for one in mine))
        more = f"; and {len(reasons) - SHOWN} more reasons" * (len(reasons) > SHOWN)
        said = "; ".join(reasons[:SHOWN]) + more
        progress.say(f"not used: {len(mine)} {kind} ({names}): {said}")


def write_unused(folder: Path, unused: Sequence[Unused]) -> None:
    """Write ``unused.csv``, or remove that of an earlier call."""
    if not unused:
        (folder / FILE).unlink(missing_ok=True)
        return
    rows = [{"kind": one.kind, "name": one.name, "reason": one.reason} for one in unused]
    write_csv(folder / FILE, pa.Table.from_pylist(rows, COLUMNS))
