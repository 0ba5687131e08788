"""Time in all, in doubt, and of tools by phase, counted by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from histoscope.core.contracts import Answer, Results, Source, Task
from histoscope.domains.surgery.timeline import lasting_s
from histoscope.domains.surgery.totals import low_facts, untold_facts, write_totals, write_use

PHASES, TOOLS = ("a", "b"), ("Hook", "Clipper")
NAN = float("nan")
SCORES = [[0.9, 0.1], [0.6, 0.4], [0.45, 0.44], [0.2, 0.8], [NAN, NAN], [0.3, 0.4]]
SEEN = [[1, 0], [1, 1], [0, 1], [1, 1], [NAN, NAN], [0, 0]]


def phase(least: float = 0.0) -> Answer:
    scores = np.array(SCORES, np.float32)
    return Answer(Task("phase", PHASES), scores, ["#000000"] * 2, np.zeros(2, np.float32), least)


def tools() -> Answer:
    task = Task("tools", TOOLS, exclusive=False)
    half = np.full(2, 0.5, np.float32)
    return Answer(task, np.array(SEEN, np.float32), ["#000000"] * 2, half)


def results() -> Results:
    source = Source("0" * 16, "a.mp4", "input", "video", case=None, split=None)
    rows = pa.table({"at_s": np.arange(6) * 2.0})
    return Results(source, rows, [phase(), tools()])


def read(file: Path) -> dict[str, dict[str, object]]:
    rows = pyarrow.csv.read_csv(file).to_pylist()
    return {row.pop("class"): row for row in rows}


def test_minutes_in_doubt_are_those_below_a_half(tmp_path: Path):
    write_totals(phase(), results(), 30.0, tmp_path)
    told = read(tmp_path / "totals-phase.csv")
    assert {name: row["low_min"] for name, row in told.items()} == {"a": 0.5, "b": 0.5}
    assert {name: row["share"] for name, row in told.items()} == {"a": 0.6, "b": 0.4}
    assert low_facts([phase()], 30.0) == {
        "Low confidence of phase": "1.0 of 2.5 min (best score below 0.5)"
    }


def test_with_a_rule_for_what_is_uncertain_that_rule_holds(tmp_path: Path):
    write_totals(phase(0.7), results(), 30.0, tmp_path)
    told = read(tmp_path / "totals-phase.csv")
    assert {name: row["low_min"] for name, row in told.items()} == {
        "a": 0,
        "b": 0,
        "uncertain": 1.5,
    }
    assert low_facts([phase(0.7)], 30.0) == {
        "Low confidence of phase": "1.5 of 2.5 min (best score below 0.7)"
    }


def test_seconds_of_a_tool_in_all_and_in_each_phase(tmp_path: Path):
    (told,) = write_use(tools(), [phase()], 2.0, tmp_path)
    assert [column.heading for column in told.columns] == ["", "seconds in all", "a", "b"]
    assert read(tmp_path / "use-tools.csv") == {
        "Hook": {"seen_s": 6, "phase:a": 4, "phase:b": 2},
        "Clipper": {"seen_s": 6, "phase:a": 4, "phase:b": 2},
    }
    assert write_use(tools(), [], 2.0, tmp_path) == []


def test_what_the_scores_do_not_tell_is_said_beside_its_time(tmp_path: Path):
    guessed = replace(tools(), untold=("Clipper",))
    (told,) = write_use(guessed, [phase()], 2.0, tmp_path)
    (known,) = write_use(tools(), [phase()], 2.0, tmp_path)
    assert told.caption.startswith(f"{known.caption} Clipper: when may mean nothing, ")
    assert (
        " Clipper: when may mean nothing, "
        in write_totals(guessed, results(), 2.0, tmp_path).caption
    )
    assert untold_facts([phase(), guessed]) == {
        "Not told of tools": "Clipper (scores were not told from chance)"
    }
    assert untold_facts([phase(), tools()]) == {}


def test_a_frame_stands_for_the_mean_step_without_gaps():
    times = np.array([0, 0.6, 1.0, 1.6, 2.0, 2.6, 60.0, 60.6, 61.0])
    assert lasting_s(times) == pytest.approx((4 * 0.6 + 3 * 0.4) / 7)
    assert lasting_s(np.array([3.0])) == 1.0
