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

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import openslide

from histoscope.core.work.outcome import Outcome
from histoscope.domains.pathology.options import ReadOptions
from histoscope.domains.pathology.tiling import Box, grid
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
from tests.faults.made import MPP, TILE_PX, write_colour_package
from tests.faults.mutations import Mutant, Range, mutants
from tests.faults.slide_files import SIZE, write_all

BESIDE = "deflate.tif"
WHOLE_TILES = (SIZE[0] // TILE_PX) * (SIZE[1] // TILE_PX)


def answers(rows: Sequence[Row]) -> dict[tuple[int, int], Row]:
    """Rows of a table by place."""
    return {(row["x_level0_px"], row["y_level0_px"]): row for row in rows}


def broken(mutant: Mutant, file: Path, found: Found, whole: Found) -> Iterator[str]:
    """Each promise that was not kept, in words.

    Args:
        mutant: the slide.
        file: where it lies.
        found: what became of it.
        whole: what became of the undamaged slide.
    """
    yield from broken_outcomes(file, found)
    if not found.outcomes:
        return
    first = found.outcomes[0]
    if first.status == "done" or found.rows:
        yield from _broken_rows(first, found.rows)
    if first.status == "done" and _is_as_large(mutant, found.rows, whole.rows):
        faults = list(_broken_tiles(mutant, file, answers(found.rows), answers(whole.rows)))
        if faults:
            yield f"{len(faults)} tiles, one of them: {faults[0]}"


def _broken_rows(outcome: Outcome, rows: Sequence[Row]) -> Iterator[str]:
    yield from broken_rows(outcome, rows, "tile")
    if len(rows) != (planned := _planned(outcome.facts or {})):
        yield f"{len(rows)} rows of {planned} tiles that there are"


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
        tiles = [mutant.whole.tiles[one] for one in mutant.whole.under(x, y, TILE_PX)]
        touched = [one for one in tiles if mutant.touches(one)]
        same = same_answers(row, wanted[x, y])
        if row["status"] != "ok" and not touched:
            yield f"at {x}, {y} it is unreadable, and nothing of it was touched"
        elif row["status"] == "ok" and not same and not touched:
            yield f"at {x}, {y} it has another answer, and nothing of it was touched"
        elif row["status"] == "ok" and not same:
            said = [_complaint(mutant, file, one, (x, y)) for one in touched]
            if any(said):
                yield f"at {x}, {y} it has another answer, though {said} is said of it"


def _complaint(mutant: Mutant, file: Path, tile: Range, place: tuple[int, int]) -> str:
    """What a strict decoder says against a tile that was touched, or OpenSlide of that place."""
    if mutant.whole.complains is not None:
        return mutant.whole.complains(mutant.data[slice(*tile)])
    try:
        with openslide.OpenSlide(str(file)) as slide:
            slide.read_region(place, 0, (TILE_PX, TILE_PX))
    except openslide.OpenSlideError as fault:
        return str(fault)
    return ""


def check(count: int, seed: int, say: Say) -> tuple[Tally, int]:
    """Try so many by a seed; see :func:`tests.faults.damaged.check`."""
    faults, options = 0, ReadOptions(default_mpp=MPP)
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch)
        package, good = write_colour_package(base / "package"), base / "whole"
        good.mkdir()
        wholes = {one.name: one for one in write_all(good)}
        known = run(good, list(wholes), package, options, base / "out-whole", 0)
        for name, one in known.items():
            if fate(one) != "done" or len(one.rows) != WHOLE_TILES:
                faults += 1
                say(f"BROKEN {name}: undamaged, and {fate(one)}")
        beside = (BESIDE, lambda path: path.write_bytes(wholes[BESIDE].data))
        damaging = Damaging(package, options, known, beside, _write, broken)
        drawn = mutants(list(wholes.values()), count, seed)
        tally, more = check_all(damaging, drawn, base, say)
    return tally, faults + more


def _write(mutant: Mutant, path: Path) -> None:
    path.write_bytes(mutant.data)


def main(words: list[str] | None = None) -> int:
    """Exit code 1 when a promise is broken."""
    return try_at_length(words, __doc__, "slides", check)


if __name__ == "__main__":
    sys.exit(main())
