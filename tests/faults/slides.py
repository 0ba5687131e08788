"""Damaged slides: each a row, none a crash, a hang or half a result that looks whole.

What is promised of each, and checked:

- It has one row of the manifest; it is done, empty or failed with a reason of one line.
- Done, it has a row of the table for every tile that a slide of its size has, as many as it says it
  read and could not read; those that could not be read have no answer and say why.
- Where only pixels were touched, or the end is missing, each tile has the answer that the whole
  slide gives, or is marked as unreadable. It may have another one only where its bytes were touched
  and nothing can tell: OpenSlide, where it reads the slide, has nothing to say against them, or
  else libjpeg or the checksum. So a bit of the codes of JPEG, JPEG 2000 and LZW may give other
  pixels, and so may one of samples as they are, and of deflate where OpenSlide reads it, which does
  not look at the checksum.
- What was touched in the structure (a size, a scale, a list of tiles) may make another valid slide,
  of which only the first two can be promised.
"""

from __future__ import annotations

import argparse
import logging
import math
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openslide
import pyarrow.parquet as pq

from histoscope.core.progress import Silent
from histoscope.core.stages.predict import RESULTS, predict
from histoscope.core.work.local import Local
from histoscope.core.work.outcome import Outcome
from histoscope.domains.pathology.options import ReadOptions
from histoscope.domains.pathology.tiling import Box, grid
from tests.faults.made import MPP, TASK, TILE_PX, write_colour_package
from tests.faults.mutations import Mutant, mutants
from tests.faults.slide_files import SIZE, write_all

A_FOLDER = 50  # slides
DEADLINE_S = 60.0
ANSWER = ("class:", "p:")
OURS = re.compile(r"^\w+(Error|Exception|Warning)\b|out of range|has no attribute|NoneType")
WHOLE_TILES = (SIZE[0] // TILE_PX) * (SIZE[1] // TILE_PX)
Row = Mapping[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Found:
    """What became of one file.

    Attributes:
        outcomes: of it; a file with several scans has several.
        rows: of the table of the first.
    """

    outcomes: Sequence[Outcome]
    rows: Sequence[Row]


def run(folder: Path, package: Path, out: Path, workers: int) -> dict[str, Found]:
    """Predict a folder; what became of each file, by its path."""
    engine, options = Local(workers, DEADLINE_S), ReadOptions(default_mpp=MPP)
    done = predict(package, {"input": folder}, options, out, engine=engine, progress=Silent())
    listed = [row["path"] for row in pq.read_table(out / "manifest.parquet").to_pylist()]
    found = dict[str, Found]()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = file.relative_to(folder).as_posix()
        outcomes = [one for one in done if _file_of(one.source.path) == name]
        paths = [one.source.path for one in outcomes]
        if paths.count(name) != 1 or sorted(paths) != sorted(
            one for one in listed if _file_of(one) == name
        ):
            outcomes = []
        table = out / RESULTS / outcomes[0].source.id / "predictions.parquet" if outcomes else out
        rows = pq.read_table(table).to_pylist() if table.is_file() else []
        found[name] = Found(outcomes, rows)
    return found


def _file_of(path: str) -> str:
    """The file of a source, which may be one of several scans."""
    return path.partition("#")[0]


def answers(rows: Sequence[Row]) -> dict[tuple[int, int], Row]:
    """Rows of a table by place."""
    return {(row["x_level0_px"], row["y_level0_px"]): row for row in rows}


def broken(mutant: Mutant, file: Path, found: Found, whole: Sequence[Row]) -> Iterator[str]:
    """Each promise that was not kept, in words.

    Args:
        mutant: the slide.
        file: where it lies.
        found: what became of it.
        whole: rows of the undamaged slide.
    """
    if not found.outcomes:
        yield "it has not one row"
        return
    for one in found.outcomes:
        if one.status != "done" and not one.reason.strip():
            yield f"{one.status} without a reason"
        if len(one.reason.splitlines()) > 1 or file.stem in one.reason:
            yield f"its reason is no line without a name: {one.reason!r}"
        if OURS.search(one.reason):
            yield f"its reason is a fault of ours: {one.reason!r}"
    first = found.outcomes[0]
    if first.status == "done" or found.rows:
        yield from _broken_rows(first, found.rows)
    if first.status == "done" and _is_as_large(mutant, found.rows, whole):
        faults = list(_broken_tiles(mutant, file, answers(found.rows), answers(whole)))
        if faults:
            yield f"{len(faults)} tiles, one of them: {faults[0]}"


def _broken_rows(outcome: Outcome, rows: Sequence[Row]) -> Iterator[str]:
    if len(rows) != outcome.samples + outcome.corrupt:
        yield f"{len(rows)} rows of {outcome.samples} + {outcome.corrupt} tiles"
    if outcome.corrupt and "unreadable" not in outcome.reason:
        yield "tiles could not be read, which its row does not say"
    if len(rows) != (planned := _planned(outcome.facts or {})):
        yield f"{len(rows)} rows of {planned} tiles that there are"
    names = [f"class:{TASK.name}", *(f"p:{TASK.name}:{one}" for one in TASK.classes)]
    for row in rows:
        told = {row[name] is not None for name in names}
        if told != {row["status"] == "ok"} or not row["status"]:
            yield f"a tile of status {row['status']!r} with answers {told}"
            return


def _planned(facts: Row) -> int:
    """How many tiles a slide of this size has."""
    box = Box(*(int(facts[f"bounds_{one}_level0_px"]) for one in ("x", "y", "width", "height")))
    scale = (float(facts["mpp_x"]), float(facts["mpp_y"]))
    return len(grid(box, scale, MPP, TILE_PX, None, "drop").x_level0_px)


def _is_as_large(mutant: Mutant, rows: Sequence[Row], whole: Sequence[Row]) -> bool:
    kept = mutant.structure_kept or mutant.kind == "cut"
    return kept and answers(rows).keys() == answers(whole).keys()


def _broken_tiles(
    mutant: Mutant,
    file: Path,
    found: Mapping[tuple[int, int], Row],
    wanted: Mapping[tuple[int, int], Row],
) -> Iterator[str]:
    for (x, y), row in found.items():
        touched = [one for one in mutant.whole.under(x, y, TILE_PX) if mutant.touches(one)]
        same = all(row[key] == wanted[x, y][key] for key in row if key.startswith(ANSWER))
        if row["status"] != "ok" and not touched:
            yield f"at {x}, {y} it is unreadable, and nothing of it was touched"
        elif row["status"] == "ok" and not same and not touched:
            yield f"at {x}, {y} it has another answer, and nothing of it was touched"
        elif row["status"] == "ok" and not same:
            said = [_complaint(mutant, file, one, (x, y)) for one in touched]
            if any(said):
                yield f"at {x}, {y} it has another answer, though {said} is said of it"


def _complaint(mutant: Mutant, file: Path, tile: int, place: tuple[int, int]) -> str:
    """What a strict decoder says against a tile that was touched, or OpenSlide of that place."""
    if mutant.whole.complains is not None:
        return mutant.whole.complains(mutant.bytes_of(tile))
    try:
        with openslide.OpenSlide(str(file)) as slide:
            slide.read_region(place, 0, (TILE_PX, TILE_PX))
    except openslide.OpenSlideError as fault:
        return str(fault)
    return ""


def fate(found: Found) -> str:
    """What became of a file, in one word."""
    if not found.outcomes:
        return "lost"
    first = found.outcomes[0]
    for word in ("crashed", "hung"):
        if first.status == "failed" and f"its reader {word}" in first.reason:
            return word
    return f"{first.status} with damage" if first.corrupt else first.status


def check(count: int, seed: int, say: Say) -> tuple[Counter[tuple[str, str]], int]:
    """Try so many; how many of each kind of damage and format met which fate, and broken promises.

    Args:
        count: of damaged slides.
        seed: of the draw.
        say: told of each broken promise.
    """
    tally, faults = Counter[tuple[str, str]](), 0
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch)
        package, good = write_colour_package(base / "package"), base / "whole"
        good.mkdir()
        wholes = write_all(good)
        known = run(good, package, base / "out-whole", 0)
        for name, one in known.items():
            if fate(one) != "done" or len(one.rows) != WHOLE_TILES:
                faults += 1
                say(f"BROKEN {name}: undamaged, and {fate(one)}")
        drawn = mutants(wholes, count, seed)
        for start in range(0, count, A_FOLDER):
            folder = base / f"slides-{start}"
            named = dict(_written(drawn[start : start + A_FOLDER], folder, start))
            found = run(folder, package, base / f"out-{start}", 1)
            for name, mutant in named.items():
                tally[mutant.kind, fate(found[name])] += 1
                tally[mutant.whole.name, fate(found[name])] += 1
                rows = known[mutant.whole.name].rows
                for said in broken(mutant, folder / name, found[name], rows):
                    faults += 1
                    say(f"BROKEN {name} ({mutant.kind}): {said}")
    return tally, faults


def _written(drawn: Sequence[Mutant], folder: Path, start: int) -> Iterator[tuple[str, Mutant]]:
    """Each in a folder of its own: DICOM files side by side may be one slide."""
    for number, one in enumerate(drawn, start):
        name = f"{number:04d}/mutant-{number:04d}-{one.whole.name}"
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(one.data)
        yield name, one


def lines(tally: Counter[tuple[str, str]]) -> list[str]:
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


def main(words: list[str] | None = None) -> int:
    """Exit code 1 when a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="damaged slides")
    parser.add_argument("--seed", type=int, default=0)
    logging.getLogger("histoscope").addHandler(logging.NullHandler())
    told, began = parser.parse_args(words), time.monotonic()
    tally, faults = check(told.count, told.seed, lambda line: print(line, flush=True))  # noqa: T201
    for line in lines(tally):
        print(line)  # noqa: T201
    seconds = math.ceil(time.monotonic() - began)
    print(f"slides: {told.count} damaged in {seconds} s, {faults} promises broken")  # noqa: T201
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
