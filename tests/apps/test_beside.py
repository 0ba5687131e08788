"""Sources beside each other on a page: what stands out is said, and links lead to its source."""

from __future__ import annotations

import pytest

from histoscope.apps.report.beside import MOST, of_source, overview
from histoscope.apps.report.page import breakable
from histoscope.core.contracts import Beside, Column

COLUMNS = (Column("class"), Column("minutes"), Column("usual"))
HEADS = [{"task": "made", "classes": [{"name": name, "colour": "#000000"} for name in "xy"]}]


def beside(count: int) -> Beside:
    names = [f"{number:016x}" for number in range(count)]
    rows = {name: [["x", "1.0", "2.0"], ["y", "9.0", "3.0"]] for name in names}
    marks = {names[0]: {"y": "longer"}}
    usual = {"x": "2.0", "y": "3.0"}
    return Beside("made", "Made", "min", "made.csv", COLUMNS, rows, marks, usual, ["so"])


def test_a_row_a_source_and_a_line_for_what_stands_out():
    sources = [{"id": f"{number:016x}", "page": ""} for number in (1, 0, 7)]
    (told,) = overview([beside(2)], sources, HEADS)
    assert [row["source"]["id"][-1] for row in told["table"]] == ["1", "0"]
    assert told["table"][1]["cells"] == [
        {"text": "1.0", "mark": ""},
        {"text": "9.0", "mark": "longer"},
    ]
    (alarm,) = told["alarms"]
    assert (alarm["kind"], alarm["row"]["usual"]) == ("y", "3.0")
    assert told["usual"] == ["2.0", "3.0"]


def test_of_very_many_sources_some_are_shown_and_the_rest_is_counted():
    sources = [{"id": f"{number:016x}", "page": ""} for number in range(MOST + 3)]
    (told,) = overview([beside(MOST + 3)], sources, HEADS)
    assert (len(told["table"]), told["more"]) == (MOST, 3)


def test_a_source_has_its_own_rows_or_none():
    (told,) = of_source([beside(2)], "0" * 16)
    assert [row["mark"] for row in told["rows"]] == ["", "longer"]
    assert of_source([beside(2)], "f" * 16) == []


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("CalotTriangleDissection", "Calot<wbr>Triangle<wbr>Dissection"),
        ("a/b<c>", "a/<wbr>b&lt;c&gt;"),
        ("OR", "OR"),
    ],
)
def test_long_names_may_be_broken_and_are_escaped(name: str, shown: str):
    assert breakable(name) == shown
