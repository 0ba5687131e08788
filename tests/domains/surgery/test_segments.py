"""Segments of an operation: what is written, what players get, and that it comes back as labels."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histoscope.apps.cli import run
from histoscope.core.contracts import Answer, Task
from histoscope.core.data.store import Store
from histoscope.core.errors import DataError
from histoscope.domains.surgery.chapters import as_subrip, as_webvtt
from histoscope.domains.surgery.phantom import write_phantom
from histoscope.domains.surgery.segments import Segment, read_segments, segments_of

KINDS = ("Preparation", "ClippingCutting", "CleaningCoagulation")


def answer(said: list[int], least: float = 0.0, score: float = 0.8) -> Answer:
    """One score a row; -1 is a frame that could not be read."""
    scores = np.full((len(said), 3), (1 - score) / 2, np.float32)
    for row, kind in enumerate(said):
        scores[row, kind] = score
        if kind < 0:
            scores[row] = np.nan
    task = Task("phase", KINDS)
    return Answer(task, scores, ["#000000"] * 3, np.zeros(3, np.float32), least)


def told(segments: list[Segment]) -> list[tuple[float, float, str]]:
    return [(one.start_s, one.end_s, one.kind) for one in segments]


def test_a_segment_ends_where_the_next_frame_says_something_else():
    times = np.array([0.0, 1.02, 2.0, 3.01, 4.0])
    assert told(segments_of(answer([0, 0, 1, 1, 0]), times, 1.0)) == [
        (0.0, 2.0, KINDS[0]),
        (2.0, 4.0, KINDS[1]),
        (4.0, 5.0, KINDS[0]),
    ]


def test_unreadable_frames_and_gaps_are_in_no_segment():
    times = np.array([0.0, 1.0, 2.0, 3.0, 60.0, 61.0])
    assert told(segments_of(answer([0, -1, 0, 0, 0, 0]), times, 1.0)) == [
        (0.0, 1.0, KINDS[0]),
        (2.0, 4.0, KINDS[0]),
        (60.0, 62.0, KINDS[0]),
    ]


def test_what_scores_low_is_a_segment_of_its_own_and_confidence_a_mean():
    both = answer([1, 1])
    both.probabilities[0] = [0.2, 0.6, 0.2]
    (one,) = segments_of(both, np.arange(2.0), 1.0)
    assert one.confidence == pytest.approx(0.7)
    (one,) = segments_of(answer([1, 1], least=0.9), np.arange(2.0), 1.0)
    assert one.kind == "uncertain"
    assert one.confidence == pytest.approx(0.8)


@given(st.lists(st.integers(-1, 2), min_size=1, max_size=30), st.data())
def test_every_frame_is_in_the_segment_of_its_class_or_in_none(said, data):
    steps = data.draw(
        st.lists(st.floats(0.0625, 4, width=32), min_size=len(said), max_size=len(said))
    )
    times = np.cumsum(steps).round(6)
    segments = segments_of(answer(said), times, float(np.median(steps)))
    for row, time in enumerate(times):
        held = [one.kind for one in segments if one.start_s <= time < one.end_s]
        assert held == [KINDS[said[row]]] * (said[row] >= 0)
    for one, other in pairwise(segments):
        assert one.start_s < one.end_s <= other.start_s


def test_chapters_have_valid_stamps_and_escaped_names():
    odd = "a <b> & {c}\n\n--> d"
    segments = [
        Segment(0.0, 3723.0004, odd, 1.0, 0, "#000000"),
        Segment(360000.5, 360000.5001, "\u7b2c\u4e00", 1.0, 1, "#000000"),
    ]
    vtt, srt = as_webvtt(segments), as_subrip(segments)
    assert vtt == (
        "WEBVTT\n\n1\n00:00:00.000 --> 01:02:03.000\na &lt;b&gt; &amp; {c} --&gt; d\n\n"
        "2\n100:00:00.500 --> 100:00:00.501\n\u7b2c\u4e00\n"
    )
    assert re.findall(r"^\S+ --> \S+$", srt, re.MULTILINE) == [
        "00:00:00,000 --> 01:02:03,000",
        "100:00:00,500 --> 100:00:00,501",
    ]
    assert "a \u2039b\u203a & (c) --\u203a d" in srt.splitlines()


def body(**changes: object) -> dict[str, object]:
    return {
        "format": "histoscope.segments",
        "version": 1,
        "source": "0" * 16,
        "operation": "video01",
        "task": "phase",
        "classes": list(KINDS),
        "segments": [
            {"start_s": 0, "end_s": "0:01:30", "class": "Preparation"},
            {"start_s": 100.5, "end_s": 101, "class": "closing"},
            {"start_s": 90, "end_s": 95, "class": "uncertain"},
            {"start_s": 95, "end_s": 96, "class": None},
        ],
        **changes,
    }


def test_an_edited_file_is_read(tmp_path: Path):
    file = tmp_path / "segments.json"
    file.write_text(json.dumps(body()))
    read = read_segments(file)
    assert read.classes == (*KINDS, "closing")
    times = np.array([0, 89.9, 90, 95.5, 100.4, 100.5, 101])
    nothing = [None] * 3
    assert read.kinds_at(times) == ["Preparation", "Preparation", *nothing, "closing", None]


@pytest.mark.parametrize(
    ("segments", "said"),
    [
        ([{"start_s": 1, "end_s": 1, "class": "a"}], "segment 1: ends at 1 s, which is not after"),
        ([{"start_s": 1, "class": "a"}], "segment 1: start_s, end_s and class are expected"),
        ([{"start_s": "1:30", "end_s": 2, "class": "a"}], "'1:30' is neither seconds nor"),
        ([{"start_s": float("nan"), "end_s": 2, "class": "a"}], "nan is neither seconds nor"),
        ([{"start_s": True, "end_s": 2, "class": "a"}], "True is neither seconds nor"),
        ([{"start_s": 1, "end_s": 2, "class": 3}], "class is 3; give a name, or null"),
        (
            [{"start_s": 0, "end_s": 9, "class": "a"}, {"start_s": 8, "end_s": 10, "class": "b"}],
            "b begins at 8 s, before a ends at 9 s",
        ),
        ({}, "segments should be a list"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(segments, said, tmp_path: Path):
    file = tmp_path / "segments.json"
    file.write_text(json.dumps(body(segments=segments)))
    with pytest.raises(DataError, match=re.escape(said)) as fault:
        read_segments(file)
    assert str(fault.value).startswith(str(file))


def command(*words: object) -> int:
    return run([str(word) for word in words])


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom, a package, and what it says of three operations."""
    out = tmp_path_factory.mktemp("segments")
    write_phantom(out / "phantom", 0, train=2, valid=0, test=1, new=3, seconds=60, spread_s=0)
    cut = ("--domain", "surgery", "--size-px", 32, "--workers", 0)
    assert command("prepare", *cut, out / "phantom" / "labelled", "--out", out / "store") == 0
    few = ("--encoder", "colour", "--task", "phase", "--fraction", 1, "--draws", 1)
    assert command("finetune", out / "store", *few, "--out", out / "package") == 0
    by = ("--package", out / "package", "--workers", 0)
    assert command("predict", out / "phantom" / "new", *by, "--out", out / "results") == 0
    return out


def said_of(folder: Path) -> dict[str, str]:
    """By id of a frame, what was predicted."""
    out = {}
    for file in (folder / "results").glob("*/predictions.parquet"):
        table = pq.read_table(file, columns=["id", "class:phase"])
        out |= dict(zip(*(column.to_pylist() for column in table.columns), strict=True))
    return out


def labels_in(store: Path) -> dict[str, str]:
    rows = Store(store).labels("phase").rows
    return dict(zip(*(rows.column(n).to_pylist() for n in ("sample", "label")), strict=True))


def prepared(out: Path, labels: Path, store: Path) -> int:
    cut = ("--domain", "surgery", "--size-px", 32, "--workers", 0, "--labels", labels)
    return command("prepare", *cut, out / "phantom" / "new", "--out", store)


def test_all_segments_of_a_folder_come_back_as_labels(predicted: Path, tmp_path: Path):
    assert prepared(predicted, predicted / "results", tmp_path / "store") == 0
    assert labels_in(tmp_path / "store") == said_of(predicted / "results")


def test_one_edited_file_labels_one_operation_and_nothing_between(
    predicted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    first = min((predicted / "results" / "results").glob("*/segments.json"))
    told = json.loads(first.read_text())
    told["segments"] = [{"start_s": 2, "end_s": 5, "class": "cleaning and coagulation"}]
    edited = tmp_path / "edited.json"
    edited.write_text(json.dumps(told))
    assert prepared(predicted, edited, tmp_path / "store") == 0
    known = [kind for kind in labels_in(tmp_path / "store").values() if kind]
    assert known == ["CleaningCoagulation"] * 3

    told["segments"][0]["class"] = "CleaningCoagulation"
    edited.write_text(json.dumps(told))
    given = tmp_path / "mine.parquet"
    assert command("labels", tmp_path / "store", edited, "--out", given) == 0
    rows = pq.read_table(given)
    index = Store(tmp_path / "store").index
    times = dict(zip(*(index.column(n).to_pylist() for n in ("id", "at_s")), strict=True))
    assert [times[one] for one in rows.column("sample").to_pylist()] == [2.0, 3.0, 4.0]
    assert pa.types.is_string(rows.schema.field("label").type)

    assert command("labels", predicted / "store", edited, "--out", tmp_path / "other.parquet") == 2
    assert "is not in the store" in capsys.readouterr().err


def test_two_files_of_one_operation_and_other_tasks_are_refused(
    predicted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    first = min((predicted / "results" / "results").glob("*/segments.json"))
    for name in "ab":
        (tmp_path / "twice" / name).mkdir(parents=True)
        (tmp_path / "twice" / name / "segments.json").write_text(first.read_text())
    assert prepared(predicted, tmp_path / "twice", tmp_path / "store") == 2
    assert "keep one" in capsys.readouterr().err
    step = tmp_path / "step.json"
    step.write_text(first.read_text().replace('"task": "phase"', '"task": "step"'))
    assert prepared(predicted, step, tmp_path / "store") == 2
    assert "'histoscope labels STORE" in capsys.readouterr().err


def test_the_page_shows_all_of_it_and_report_makes_it_anew(predicted: Path):
    folder = predicted / "results"
    page, table = (folder / "report.html").read_text(), (folder / "durations.csv").read_bytes()
    for said in ("Storyboard", "Minutes of each phase", "Error unknown", "Low confidence of phase"):
        assert said in page
    (folder / "durations.csv").unlink()
    assert command("report", folder) == 0
    assert (folder / "durations.csv").read_bytes() == table
    assert (folder / "report.html").read_text() == page


def test_predicted_twice_the_files_are_the_same(predicted: Path, tmp_path: Path):
    by = ("--package", predicted / "package", "--workers", 0)
    assert command("predict", predicted / "phantom" / "new", *by, "--out", tmp_path) == 0
    first = {
        file.relative_to(predicted / "results"): file.read_bytes()
        for file in (predicted / "results").rglob("*")
        if file.is_file()
    }
    assert {file.name for file in first} >= {"segments.json", "chapters.vtt", "storyboard.jpg"}
    for name, data in first.items():
        assert (tmp_path / name).read_bytes() == data, name
