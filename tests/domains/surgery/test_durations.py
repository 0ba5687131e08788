"""Minutes of phases beside those of other operations, and when they may be called unusual."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from histoscope.core.contracts import Comparing, Source
from histoscope.core.work.outcome import Outcome
from histoscope.domains.surgery import DOMAIN
from histoscope.domains.surgery.durations import Error, minutes_a_frame, set_beside, verdict

USUAL = [10.0, 11.0, 12.0, 13.0, 14.0]  # quartiles 11 and 13, fences 8 and 16
KNOWN = Error(1.0, 3.0, 20)


@pytest.mark.parametrize(
    ("minutes", "others", "error", "said"),
    [
        (16.1, USUAL, KNOWN, "longer than usual"),
        (7.9, USUAL, KNOWN, "shorter than usual"),
        (16.0, USUAL, KNOWN, "usual"),
        (15.0, USUAL, KNOWN, "within the model's error"),
        (40.0, USUAL, Error(1.0, 30.0, 20), "within the model's error"),
        (40.0, USUAL, Error(), "error unknown"),
        (40.0, USUAL, Error(1.0, 3.0, 4), "error unknown"),
        (40.0, USUAL[:4], KNOWN, "too few others"),
        (40.0, [], KNOWN, "too few others"),
    ],
)
def test_only_what_is_known_to_stand_out_is_said_to(minutes, others, error, said):
    assert verdict(minutes, others, error) == said


def about(evaluation: Any = None, **more: Any) -> dict[str, Any]:
    kinds = [{"id": place, "name": name, "colour": "#000000"} for place, name in enumerate("ab")]
    head = {"task": "phase", "level": "sample", "exclusive": True, "classes": kinds}
    tools = {**head, "task": "tools", "exclusive": False, "evaluation": None}
    return {"package": {"heads": [{**head, "evaluation": evaluation}, tools]}, **more}


EVALUATED = {
    "amounts": {
        "unit": "min",
        "sources": 9,
        "labelled": 30.0,
        "classes": {
            "a": {"sources": 9, "median": 0.1, "ninth_decile": 0.5},
            "b": {"sources": 2, "median": 0.1, "ninth_decile": 0.5},
        },
    }
}


def write(folder: Path, frames_of_a: list[int]) -> list[Outcome]:
    """Operations of 100 frames two seconds apart; of the last frame nothing is known."""
    outcomes = []
    for number, count in enumerate(frames_of_a):
        name = f"{number:016x}"
        held = ["a"] * count + ["b"] * (99 - count) + [None]
        table = pa.table({"at_s": [2.0 * row for row in range(100)], "class:phase": held})
        (folder / "results" / name).mkdir(parents=True)
        pq.write_table(table, folder / "results" / name / "predictions.parquet")
        source = Source(name, f"video{number}.mp4", "input", "video", case=None, split=None)
        outcomes.append(Outcome(source, "done", 100))
    return outcomes


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return pyarrow.csv.read_csv(folder / "durations.csv").to_pylist()


def test_minutes_are_frames_times_the_step_between_them(tmp_path: Path):
    outcomes = write(tmp_path, [30, 30, 31, 31, 32, 32, 90])
    (beside,) = set_beside(tmp_path, about(EVALUATED), outcomes)
    rows = rows_of(tmp_path)
    assert [row["minutes"] for row in rows[:2]] == [1.0, 2.3]
    last = rows[-2]
    assert last["class"] == "a"
    assert (last["minutes"], last["others_median_min"], last["off_min"]) == (3.0, 1.033, 1.967)
    assert (last["others"], last["error_operations"]) == (6, 9)
    assert [row["verdict"] for row in rows if row["class"] == "a"] == [
        *["within the model's error"] * 6,
        "longer than usual",
    ]
    assert {row["verdict"] for row in rows if row["class"] == "b"} == {"error unknown"}
    assert beside.marks == {f"{6:016x}": {"a": "longer"}}
    assert minutes_a_frame(pa.table({"at_s": [5.0]})) == 1 / 60
    assert isinstance(DOMAIN, Comparing)


@pytest.mark.parametrize(
    "told", [about(), about({"recall": {}}), about(EVALUATED, uncertain_below=0.6)]
)
def test_without_a_known_error_nothing_is_an_outlier(told, tmp_path: Path):
    (beside,) = set_beside(tmp_path, told, write(tmp_path, [30, 30, 30, 30, 30, 30, 90]))
    assert not beside.marks
    assert {row["verdict"] for row in rows_of(tmp_path)} == {"error unknown"}
    assert sum("Error unknown" in line for line in beside.said) == 1


def test_a_damaged_operation_is_left_out_and_that_is_said(tmp_path: Path):
    outcomes = write(tmp_path, [30, 40, 50])
    (tmp_path / "results" / outcomes[1].source.id / "predictions.parquet").write_bytes(b"PAR1")
    (beside,) = set_beside(tmp_path, about(EVALUATED), outcomes)
    assert set(beside.rows) == {outcomes[0].source.id, outcomes[2].source.id}
    assert any(line.startswith("1 finished operation is left out") for line in beside.said)


def test_the_same_files_give_the_same_bytes_and_none_of_no_operation(tmp_path: Path):
    outcomes = write(tmp_path, [30, 40])
    set_beside(tmp_path, about(EVALUATED), outcomes)
    first = (tmp_path / "durations.csv").read_bytes()
    set_beside(tmp_path, about(EVALUATED), outcomes)
    assert (tmp_path / "durations.csv").read_bytes() == first
    assert set_beside(tmp_path, about(EVALUATED), []) == []
    assert not (tmp_path / "durations.csv").exists()
