"""``suggest`` from the command line: what it asks first, where it goes on, what it prints."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from histoscope.apps import suggestions
from histoscope.apps.cli import run
from histoscope.apps.report.label_page import KEYS
from histoscope.core.contracts import Task
from histoscope.core.data.store import Store
from histoscope.core.stages import suggest as chooser

MINE = ("--task", "mine", "--classes", "a,b")


def suggest(store: Path, out: Path, *words: str) -> int:
    return run(
        ["suggest", str(store), "--encoder", "colour", "--count", "4", *words, f"--out={out}"]
    )


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """No feature is computed."""

    def never(*words: object) -> None:
        raise AssertionError("features were computed")

    monkeypatch.setattr(chooser, "features_of", never)


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ("hook,Task", "'Task' is a column's name already"),
        ("hook,Hook", "'Hook' is a column's name already"),
        (",".join(f"c{n}" for n in range(len(KEYS) + 1)), "give fewer with --classes"),
        ("a,a", "'a' stands twice"),
        ("a,,b", "a name is empty"),
    ],
)
def test_classes_are_checked_before_any_work(store, tmp_path, idle, capsys, classes, words):
    out = tmp_path / "out"
    assert suggest(store, out, "--task", "mine", "--several", "--classes", classes) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert not out.exists()


@pytest.mark.parametrize("place", ["found", "pointed", "page"])
def test_what_was_interrupted_is_begun_anew(store, tmp_path, monkeypatch, place):
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert suggest(store, whole, *MINE) == 0

    def stop(*words: object) -> None:
        raise KeyboardInterrupt

    name = {"found": "_items", "pointed": "write_label_page", "page": "import_command"}[place]
    with monkeypatch.context() as patch:
        patch.setattr(suggestions, name, stop)
        assert suggest(store, out, *MINE, "--count", "9") == 3
    left = set(files(out))
    assert {"suggest.json", "suggested.csv"} <= left
    assert not any(name.startswith(("annotations/", "label.html")) for name in left)
    (out / "label.html.77.part").write_text("what a crash left")
    assert suggest(store, out, *MINE) == 0
    assert files(out) == files(whole)
    assert "label.html" in files(out)
    assert any(name.startswith("annotations/") for name in files(out))


@pytest.mark.parametrize(
    "foreign", ["label.html", "notes.txt", "annotations/a.geojson", "suggested.xlsx"]
)
def test_files_of_others_are_left_alone(store, tmp_path, idle, capsys, foreign):
    out = tmp_path / "out"
    out.mkdir()
    (out / "suggest.json").write_text('{"format": "histoscope.suggest", "version": 1}')
    (out / "suggested.csv").touch()
    (out / foreign).parent.mkdir(exist_ok=True)
    (out / foreign).write_text("mine")
    before = files(out)
    assert suggest(store, out, *MINE) == 2
    assert f"{out}: not empty; give another --out" in capsys.readouterr().err
    assert files(out) == before


@pytest.mark.parametrize("name", ["suggest.json", "suggested.csv"])
def test_a_file_that_only_has_the_name_of_ours_is_left_alone(store, tmp_path, idle, name):
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("{}")
    assert suggest(store, out, *MINE) == 2
    assert files(out) == {name: b"{}"}


def test_the_command_that_is_printed_can_be_run(store, tmp_path, capsys, monkeypatch):
    classes = ("hook, long", "clip's", 'the "other"', "never")
    line = '"hook, long",clip\'s,"the ""other""",never'
    out = tmp_path / "out"
    assert suggest(store, out, "--task", "mine", "--classes", line) == 0
    order = printed(capsys.readouterr().out)
    assert order[:3] == ["labels", str(store), "labels-mine.csv"]
    sample = re.search(r'^1,"(.+?)"', (out / "suggested.csv").read_text(), re.MULTILINE)[1]
    (tmp_path / "labels-mine.csv").write_text(
        f'"sample","task","label"\n"{sample}","mine","hook, long"\n'
    )
    monkeypatch.chdir(tmp_path)
    assert run(order) == 0
    assert Store(store).labels("mine").task == Task("mine", classes)


def test_no_classes_are_printed_where_the_store_knows_them(store, tmp_path, capsys):
    sample = Store(store).index["id"][0].as_py()
    (tmp_path / "a.csv").write_text(f"sample,task,label\n{sample},mine,a\n")
    assert run(["labels", str(store), str(tmp_path / "a.csv"), "--classes", "a,b"]) == 0
    capsys.readouterr()
    assert suggest(store, tmp_path / "known", "--task", "mine") == 0
    assert printed(capsys.readouterr().out) == ["labels", str(store), "labels-mine.csv"]
    assert "--classes" not in (tmp_path / "known" / "label.html").read_text()
    assert suggest(store, tmp_path / "more", "--task", "mine", "--classes", "a,b,c") == 0
    assert printed(capsys.readouterr().out)[3:] == ["--classes", "a,b,c"]


def printed(text: str) -> list[str]:
    """The words of the command for the saved file, without the program's name."""
    return shlex.split(text.partition("then: histoscope ")[2])
