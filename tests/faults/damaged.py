"""Damaged files through ``predict``: what became of each, and what is promised of all kinds.

- It has one row of the manifest; it is done, empty or failed with a reason of one line.
- It has as many rows of the table as it says it read and could not read; those that could not be
  read have no answer and say why.
- An undamaged file beside it has the results, byte for byte, that it has alone.
"""

from __future__ import annotations

import argparse
import logging
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from histoscope.core.config import Spec
from histoscope.core.progress import Silent
from histoscope.core.stages.predict import RESULTS, predict
from histoscope.core.work.local import Local
from histoscope.core.work.outcome import Outcome
from tests.faults.mutations import Mutant
from tests.faults.subjects import differences, tree

A_FOLDER = 50  # damaged files
DEADLINE_S = 60.0
ANSWER = ("class:", "p:")
OURS = re.compile(r"^\w+(Error|Exception|Warning)\b|out of range|has no attribute|NoneType")
Row = Mapping[str, Any]
Say = Callable[[str], None]
Tally = Counter[tuple[str, str]]


@dataclass(frozen=True)
class Found:
    """What became of one file.

    Attributes:
        outcomes: of it; a file with several scans has several.
        rows: of the table of the first.
        files: all that lies in the folder of the first.
    """

    outcomes: Sequence[Outcome]
    rows: Sequence[Row]
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Damaging:
    """What is damaged, and what is promised of it.

    Attributes:
        package, options: of ``predict``.
        known: what became of each undamaged file.
        beside: name of one of these, that lies beside the damaged ones, and how it is written.
        write: writes a mutant to where it shall lie.
        broken: each promise that was not kept, in words: of a mutant, where it lies, what became
            of it, and of what it was.
    """

    package: Path
    options: Spec
    known: Mapping[str, Found]
    beside: tuple[str, Callable[[Path], object]]
    write: Callable[[Mutant, Path], object]
    broken: Callable[[Mutant, Path, Found, Found], Iterator[str]]


def run(
    folder: Path, names: Sequence[str], package: Path, options: Spec, out: Path, workers: int
) -> dict[str, Found]:
    """Predict a folder; what became of each file, by its path."""
    engine, inputs = Local(workers, DEADLINE_S), {"input": folder}
    done = predict(package, inputs, options, out, engine=engine, progress=Silent())
    listed = [row["path"] for row in pq.read_table(out / "manifest.parquet").to_pylist()]
    found = dict[str, Found]()
    for name in names:
        outcomes = [one for one in done if _file_of(one.source.path) == name]
        paths = [one.source.path for one in outcomes]
        if paths.count(name) != 1 or sorted(paths) != sorted(
            one for one in listed if _file_of(one) == name
        ):
            outcomes = []
        files = tree(out / RESULTS / outcomes[0].source.id) if outcomes else {}
        table = out / RESULTS / outcomes[0].source.id / "predictions.parquet" if outcomes else out
        rows = pq.read_table(table).to_pylist() if table.is_file() else []
        found[name] = Found(outcomes, rows, files)
    return found


def _file_of(path: str) -> str:
    """The file of a source, which may be one of several scans."""
    return path.partition("#")[0]


def broken_outcomes(file: Path, found: Found) -> Iterator[str]:
    """What is wrong with the outcomes of a damaged file, in words."""
    if not found.outcomes:
        yield "it has not one row"
    for one in found.outcomes:
        if one.status != "done" and not one.reason.strip():
            yield f"{one.status} without a reason"
        if len(one.reason.splitlines()) > 1 or file.stem in one.reason:
            yield f"its reason is no line without a name: {one.reason!r}"
        if OURS.search(one.reason):
            yield f"its reason is a fault of ours: {one.reason!r}"
    word = fate(found)
    if word in ("crashed", "hung"):
        yield f"its reader {word}"


def broken_rows(outcome: Outcome, rows: Sequence[Row], what: str) -> Iterator[str]:
    """What is wrong with the table of a damaged file, in words.

    Args:
        outcome: of it.
        rows: of the table.
        what: is a sample.
    """
    if len(rows) != outcome.samples + outcome.corrupt:
        yield f"{len(rows)} rows of {outcome.samples} + {outcome.corrupt} {what}s"
    if outcome.corrupt and "unreadable" not in outcome.reason:
        yield f"{what}s could not be read, which its row does not say"
    for row in rows:
        told = {row[name] is not None for name in row if name.startswith(ANSWER)}
        if told != {row["status"] == "ok"} or not row["status"]:
            yield f"a {what} of status {row['status']!r} with answers {told}"
            return


def same_answers(row: Row, wanted: Row) -> bool:
    """Whether two rows of a table have the same answers."""
    return all(row[key] == wanted[key] for key in row if key.startswith(ANSWER))


def fate(found: Found) -> str:
    """What became of a file, in one word."""
    if not found.outcomes:
        return "lost"
    first = found.outcomes[0]
    for word in ("crashed", "hung"):
        if first.status == "failed" and f"its reader {word}" in first.reason:
            return word
    return f"{first.status} with damage" if first.corrupt else first.status


def check(damaging: Damaging, drawn: Sequence[Mutant], base: Path, say: Say) -> tuple[Tally, int]:
    """Try all; how many of each kind of damage and format met which fate, and broken promises.

    Args:
        damaging: what is damaged, and what is promised of it.
        drawn: damaged files.
        base: folder for them.
        say: told of each broken promise.
    """
    tally, faults = Tally(), 0
    beside, write_beside = damaging.beside
    for start in range(0, len(drawn), A_FOLDER):
        folder, out = base / f"damaged-{start}", base / f"out-{start}"
        named = dict[str, Mutant]()
        for number, one in enumerate(drawn[start : start + A_FOLDER], start):
            # each in a folder of its own: files side by side may be one source
            name = f"{number:04d}/mutant-{number:04d}-{one.whole.name}"
            (folder / name).parent.mkdir(parents=True)
            damaging.write(one, folder / name)
            named[name] = one
        write_beside(folder / beside)
        names = [*named, beside]
        found = run(folder, names, damaging.package, damaging.options, out, 1)
        whole = damaging.known[beside].files
        for said in differences(dict(found[beside].files), dict(whole)):
            faults += 1
            say(f"BROKEN {beside}: undamaged, and {said}")
        for name, mutant in named.items():
            tally[mutant.kind, fate(found[name])] += 1
            tally[mutant.whole.name, fate(found[name])] += 1
            known = damaging.known[mutant.whole.name]
            for said in damaging.broken(mutant, folder / name, found[name], known):
                faults += 1
                say(f"BROKEN {name} ({mutant.kind}): {said}")
    return tally, faults


def lines(tally: Tally) -> list[str]:
    """A table of formats and kinds of damage by fate."""
    fates = sorted({one for _, one in tally})
    rows = [["", *fates]]
    rows += [
        [name, *(str(tally[name, one] or "") for one in fates)]
        for name in dict.fromkeys(name for name, _ in tally)
    ]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def try_at_length(
    words: list[str] | None,
    about: str | None,
    what: str,
    try_some: Callable[[int, int, Say], tuple[Tally, int]],
) -> int:
    """Try as many as the words say, and print what came of it; 1 when a promise is broken.

    Args:
        words: of the command line.
        about: its help.
        what: is damaged.
        try_some: so many, by a seed.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--count", type=int, default=1000, help=f"damaged {what}")
    parser.add_argument("--seed", type=int, default=0)
    logging.getLogger("histoscope").addHandler(logging.NullHandler())
    told, began = parser.parse_args(words), time.monotonic()
    tally, faults = try_some(told.count, told.seed, lambda line: print(line, flush=True))  # noqa: T201
    for line in lines(tally):
        print(line)  # noqa: T201
    seconds = math.ceil(time.monotonic() - began)
    print(f"{what}: {told.count} damaged in {seconds} s, {faults} promises broken")  # noqa: T201
    return 1 if faults else 0
