"""Damaged operations: each a row, none a crash, a hang or half a result that looks whole.

What is promised of each, and checked, beside what :mod:`tests.faults.damaged` says:

- Times of its rows increase from 0, and none lies behind the length that is stated.
- Done, its folder holds what the record names, no more and no less; tables, texts and pictures can
  be read.
- Where only pixels were touched, or the end is missing or was moved, a frame of which nothing was
  touched (its own bytes, all from the key frame before it on, and what tells where it ends and when
  it is shown) has the answer that the whole operation gives. One behind the damage may be marked as
  unreadable, one before it may not. MP4 and Matroska tell both beside each frame. In a transport or
  program stream the next packet tells where one ends. AVI and program streams do not write each
  time: the packets up to the next one that is shown later tell it.
- What was touched in the structure (a size, a time, a head) may make another valid video, of which
  the last cannot be promised.
"""

from __future__ import annotations

import csv
import io
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from histoscope.core.work.outcome import Outcome
from histoscope.domains.surgery.options import PredictOptions
from tests.faults.damaged import (
    Damaging,
    Found,
    Row,
    Say,
    Tally,
    broken_outcomes,
    broken_rows,
    fate,
    run,
    same_answers,
    try_at_length,
)
from tests.faults.damaged import check as check_all
from tests.faults.made import write_operation_package
from tests.faults.mutations import KINDS, Mutant, lose, mutants, resize
from tests.faults.operation_files import SAMPLES, STEP, write_all

BESIDE = "transport.ts"  # not an MP4: which reader is the quicker there is told by the clock
ALWAYS = frozenset({"done.json", "predictions.parquet", "predictions.csv"})
KEPT = ("cut", "a piece lost")  # kinds of damage that leave all before them as it was


def broken(mutant: Mutant, file: Path, found: Found, whole: Found) -> Iterator[str]:
    """Each promise that was not kept, in words.

    Args:
        mutant: the operation.
        file: where it lies.
        found: what became of it.
        whole: what became of the undamaged operation.
    """
    yield from broken_outcomes(file, found)
    if not found.outcomes:
        return
    first = found.outcomes[0]
    if first.status != "done":
        if extra := found.files.keys() - {"done.json"}:
            yield f"it is {first.status}, and there is {', '.join(sorted(extra))}"
        return
    yield from broken_rows(first, found.rows, "frame")
    yield from _broken_times(first, found.rows)
    yield from _broken_files(first, found.files)
    if mutant.structure_kept or mutant.kind in KEPT:
        faults = list(_broken_frames(mutant, found, whole))
        if faults:
            yield f"{len(faults)} frames, one of them: {faults[0]}"


def _broken_times(outcome: Outcome, rows: list[Row]) -> Iterator[str]:
    times = np.array([row["at_s"] for row in rows])
    if not len(times) or times[0] != 0 or (np.diff(times) <= 0).any():
        yield f"its times do not increase from 0: {times.tolist()}"
    elif times[-1] > (length := float((outcome.facts or {})["duration_s"])):
        yield f"a frame at {times[-1]} s of {length} s"


def _broken_files(outcome: Outcome, files: Mapping[str, bytes]) -> Iterator[str]:
    """Files that are missing, too much, or cannot be read."""
    named = {one["file"] for one in outcome.more.get("artefacts", ())} | ALWAYS
    if not outcome.samples:
        named = {"done.json"}
    yield from (f"{name}: named, and missing" for name in sorted(named - files.keys()))
    yield from (f"{name}: there, and not named" for name in sorted(files.keys() - named))
    for name, data in sorted(files.items()):
        try:
            _read(name, data)
        except (OSError, ValueError, SyntaxError) as fault:
            yield f"{name}: cannot be read ({fault})"


def _read(name: str, data: bytes) -> None:
    """Read a file by its kind. Raises: it is damaged."""
    if name.endswith((".png", ".jpg")):
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
    elif name.endswith(".json"):
        json.loads(data)
    elif name.endswith(".csv"):
        wide = {len(row) for row in csv.reader(io.StringIO(data.decode("utf-8")))}
        if len(wide) != 1:
            raise ValueError(f"rows of {sorted(wide)} cells")
    elif name.endswith((".vtt", ".srt")) and not data.decode("utf-8").endswith("\n"):
        raise ValueError("its last line does not end")


def _broken_frames(mutant: Mutant, found: Found, whole: Found) -> Iterator[str]:
    rows = {row["pts"]: row for row in found.rows}
    first = min(start for start, _ in mutant.touched)
    for wanted in whole.rows:
        needed, row = mutant.whole.needs[wanted["pts"]], rows.get(wanted["pts"])
        if mutant.touches(needed):
            continue
        before = needed[1] <= first
        if row is None or row["status"] != "ok":
            if before:
                said = row["status"] if row else "missing"
                yield f"at {wanted['at_s']} s it is {said}, and all to there is as it was"
        elif not same_answers(row, wanted):
            yield f"at {wanted['at_s']} s it has another answer, and nothing of it was touched"


def check(count: int, seed: int, say: Say) -> tuple[Tally, int]:
    """Try so many by a seed; see :func:`tests.faults.damaged.check`."""
    faults, options = 0, PredictOptions(frame_base=0, frame_step=STEP)
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch)
        package, good = write_operation_package(base / "package"), base / "whole"
        good.mkdir()
        wholes = {one.name: one for one in write_all(good)}
        known = run(good, list(wholes), package, options, base / "out-whole", 0)
        for name, one in known.items():
            if fate(one) != "done" or len(one.rows) != SAMPLES:
                faults += 1
                say(f"BROKEN {name}: undamaged, and {fate(one)}, {len(one.rows)} rows")
        beside = (BESIDE, lambda path: wholes[BESIDE].write(path, wholes[BESIDE].data))
        damaging = Damaging(package, options, known, beside, _write, broken)
        drawn = mutants(list(wholes.values()), count, seed, (*KINDS, lose, resize))
        tally, more = check_all(damaging, drawn, base, say)
    return tally, faults + more


def _write(mutant: Mutant, path: Path) -> None:
    mutant.whole.write(path, mutant.data)


def main(words: list[str] | None = None) -> int:
    """Exit code 1 when a promise is broken."""
    return try_at_length(words, __doc__, "operations", check)


if __name__ == "__main__":
    sys.exit(main())
