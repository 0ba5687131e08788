"""Whose a folder of results is."""

import pytest

from histoscope.core.contracts import Source
from histoscope.core.errors import UsageError
from histoscope.core.files import write_json
from histoscope.core.work.folder import OutFolder, differences
from histoscope.core.work.outcome import Outcome, write_outcome

OWNER = ("histoscope.example", 2)


def folder(tmp_path, **more):
    return OutFolder(tmp_path / "out", OWNER, parts="parts", **more)


def finish_one(tmp_path, status="done", name="a"):
    outcome = Outcome(Source(name, name), status, reason="why" if status == "failed" else "")
    write_outcome(tmp_path / "out" / "parts" / name / "done.json", outcome)


def test_a_claim_binds_once_something_is_finished(tmp_path):
    one = folder(tmp_path)
    one.claim({"cut": {"size": 64, "way": None}}, {"program": "1"})
    finish_one(tmp_path, "failed", "b")  # it is tried again, and binds nobody
    one.claim({"cut": {"size": 32, "way": None}})
    finish_one(tmp_path)
    one.claim({"cut": {"size": 32, "way": None}}, {"program": "2"})
    with pytest.raises(UsageError, match=r"other settings \(cut.size: 32 there, 64 now\)"):
        one.claim({"cut": {"size": 64, "way": None}})


def test_every_difference_has_its_place():
    before, now = {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "e": 5}, "d": 4}
    assert list(differences(before, now)) == [
        "a.c: 2 there, None now",
        "a.e: None there, 5 now",
        "d: 3 there, 4 now",
    ]


def test_what_is_somebody_elses_stays(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"holds no example.json; give another --out"):
        folder(tmp_path).claim({})
    with pytest.raises(UsageError, match="not empty"):
        folder(tmp_path, left=["page"]).take()
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


def test_an_older_program_wrote_it(tmp_path):
    write_json(tmp_path / "out" / "example.json", OWNER[0], 1, {})
    finish_one(tmp_path)
    with pytest.raises(UsageError, match="made by an older histoscope; give another --out"):
        folder(tmp_path).claim({})


def test_what_was_cut_off_is_removed_and_what_is_whole_stays(tmp_path):
    one = folder(tmp_path, closing="page.html", left=["table.csv"])
    one.take()
    one.claim({})
    (tmp_path / "out" / "table.csv").write_text("half")
    (tmp_path / "out" / "page.html.12.part").write_text("half")
    one.take()
    assert not list((tmp_path / "out").iterdir())
    one.claim({})
    (tmp_path / "out" / "page.html").write_text("whole")
    with pytest.raises(UsageError, match="not empty"):
        one.take()


def test_files_of_these_names_without_the_first_are_somebodys(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "table.csv").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        folder(tmp_path, closing="page.html", left=["table.csv"]).take()
    (tmp_path / "out" / "example.json").write_text('{"format": "another"}')
    with pytest.raises(UsageError, match="not empty"):
        folder(tmp_path, closing="page.html", left=["table.csv"]).take()
    assert (tmp_path / "out" / "table.csv").read_text() == "mine"
