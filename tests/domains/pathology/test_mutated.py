"""Damaged slides: each a row, none a crash, a hang or half a result. The rest: ``make faults``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from histoscope.core.contracts import Source
from histoscope.core.work.outcome import Outcome
from tests.faults.damaged import Found, lines
from tests.faults.made import MPP, TILE_PX
from tests.faults.mutations import Mutant
from tests.faults.slide_files import SIZE, write_all
from tests.faults.slides import broken, check

FILE = Path("folder") / "mutant.tif"


@pytest.mark.filterwarnings("ignore")  # what libraries say of damaged files
def test_twenty_damaged_slides_keep_every_promise():
    said = list[str]()
    tally, faults = check(20, 7, said.append)
    assert faults == 0, "\n".join([*said, *lines(tally)])
    assert sum(tally.values()) == 2 * 20  # by format and by damage
    assert not any(fate in ("crashed", "hung", "lost") for _, fate in tally)


def whole_rows(**more: object) -> list[dict[str, object]]:
    """What a slide gives of which everything could be read."""
    names = ("class:tissue", "p:tissue:stroma", "p:tissue:tumour")
    answers = dict(zip(names, ("tumour", 0.25, 0.75), strict=True))
    return [
        {"x_level0_px": x, "y_level0_px": y, "status": "ok", **answers, **more}
        for y in range(0, SIZE[1], TILE_PX)
        for x in range(0, SIZE[0], TILE_PX)
    ]


def outcome(samples: int, corrupt: int = 0, reason: str = "", status: str = "done") -> Outcome:
    bounds = dict(zip(("x", "y", "width", "height"), (0, 0, *SIZE), strict=True))
    facts = {f"bounds_{name}_level0_px": value for name, value in bounds.items()}
    source = Source("0" * 16, FILE.name)
    facts |= {"mpp_x": MPP, "mpp_y": MPP}
    return Outcome(source, status, samples, corrupt, reason, facts)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def scrambled(tmp_path_factory: pytest.TempPathFactory) -> Mutant:
    """A slide of strips of deflate, of whose second strip some bytes are others."""
    slides = write_all(tmp_path_factory.mktemp("slides"))
    whole = next(one for one in slides if one.name == "strips.tif")
    start, _ = whole.tiles[1]
    data = whole.data[: start + 90] + bytes(9) + whole.data[start + 99 :]
    return Mutant(whole, "zeroed", data, [(start + 90, start + 99)])


def test_a_promise_that_is_not_kept_is_found(scrambled):
    """Of each kind, by results that are made up."""

    def found(rows: list[dict[str, object]], *outcomes: Outcome) -> list[str]:
        whole = Found([], whole_rows(), {})
        return list(broken(scrambled, FILE, Found(outcomes, rows, {}), whole))

    good, corrupt = whole_rows(), {"status": "unreadable (x)"}
    nothing = dict.fromkeys(("class:tissue", "p:tissue:stroma", "p:tissue:tumour"))
    count, across = len(good), SIZE[0] // TILE_PX
    marked = [
        {**row, **nothing, **corrupt} if place // across == 1 else row
        for place, row in enumerate(good)
    ]
    read = outcome(count - across, across, "8 samples unreadable (x)")
    assert found(good, outcome(count)) == []
    assert found(marked, read) == []
    assert found(marked, replace(read, reason="")) == [
        "tiles could not be read, which its row does not say"
    ]
    assert found([]) == ["it has not one row"]
    assert found([], outcome(0, status="failed")) == ["failed without a reason"]
    ours = outcome(0, reason="KeyError: 7", status="failed")
    assert found([], ours) == ["its reason is a fault of ours: 'KeyError: 7'"]
    named = outcome(0, reason="mutant is bad", status="failed")
    assert "without a name" in found([], named)[0]
    assert "47 rows of 48 tiles that there are" in found(good[:-1], outcome(count - 1))
    assert "48 rows of 47 + 0 tiles" in found(good, outcome(count - 1))
    assert "with answers {True}" in found([{**good[0], **corrupt}, *good[1:]], outcome(count))[0]
    other = {**good[across], "p:tissue:tumour": 0.5}
    assert "though" in found([*good[:across], other, *good[across + 1 :]], outcome(count))[0]
    other = {**good[0], "p:tissue:tumour": 0.5}
    assert "nothing of it was touched" in found([other, *good[1:]], outcome(count))[0]
