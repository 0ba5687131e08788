"""Segments that are too short: merged as the scores say, whatever the way of cutting."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from histoscope.apps.cli import run
from histoscope.core.contracts import Answer, Task
from histoscope.domains.surgery.options import PredictOptions
from histoscope.domains.surgery.phantom import write_phantom
from histoscope.domains.surgery.phases import PHASES
from histoscope.domains.surgery.segments import read_segments, segments_of
from histoscope.domains.surgery.smoothing import merged_facts, smoothed, without_short

KINDS = ("a", "b", "c")


def peaked(said, score=0.8):
    out = np.full((len(said), 3), (1 - score) / 2, np.float32)
    out[np.arange(len(said)), said] = score
    return out


def test_where_no_frame_could_be_read_there_is_no_class():
    assert without_short(peaked([0])[:0], np.arange(0.0), 3).tolist() == []


def test_stretches_between_gaps_do_not_tell_of_each_other():
    times = np.array([0.0, 1, 2, 3, 100, 101, 102, 103])
    said = [0, 0, 0, 1, 1, 1, 1, 1]
    assert without_short(peaked(said), times, 3).tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def answer(scores, name="phase", *, exclusive=True, least=0.0):
    task = Task(name, KINDS, exclusive)
    return Answer(task, scores, ["#000000"] * 3, np.full(3, 0.5, np.float32), least)


def test_answers_keep_their_scores_and_what_cannot_be_read_stays_without_a_class():
    scores = peaked([0, 0, 1, 0, 0, 2])
    scores[4] = np.nan
    scores[1] = [0.4, 0.3, 0.3]
    times = np.arange(6.0)
    phases, tools = answer(scores, least=0.5), answer(scores, "tools", exclusive=False)
    told, kept = smoothed([phases, tools], times, 3)
    assert kept is tools
    assert told.probabilities is scores
    assert told.best().tolist() == [0, 0, 0, 0, -1, 0]
    assert told.highest().tolist() == [0, 0, 1, 0, -1, 2]
    assert told.chosen().argmax(axis=1).tolist() == [0, 3, 0, 0, 0, 0]  # the second is uncertain
    assert not told.chosen()[4].any()
    assert "3 s: 2 s have another class" in merged_facts([told], 3, 1)["Least segment of phase"]
    assert smoothed([phases], times, 0) == [phases]
    assert merged_facts([phases], 0, 1) == {}
    merged = segments_of(smoothed([answer(peaked([0, 0, 1, 0]))], times[:4], 3)[0], times[:4], 1.0)
    assert [(one.kind, one.confidence) for one in merged] == [("a", pytest.approx(0.625))]


def test_results_made_without_it_are_as_they_were():
    assert "least_segment_s" not in PredictOptions().named()
    assert PredictOptions(least_segment_s=10).named()["least_segment_s"] == 10


@pytest.fixture(scope="module")
def operations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two operations with a package of a colour probe."""
    out = tmp_path_factory.mktemp("operations")
    write_phantom(out, 0, train=2, valid=0, test=0, new=1, seconds=40, spread_s=0)
    cut = ("--domain", "surgery", "--size-px", 32, "--workers", 0)
    learn = ("--encoder", "colour", "--task", "phase", "--fraction", 1, "--draws", 1)
    command("prepare", out / "labelled", *cut, "--out", out / "store")
    command("finetune", out / "store", *learn, "--out", out / "package")
    return out


def command(*words: object) -> None:
    assert run([str(word) for word in words]) == 0


def test_predict_writes_long_segments_beside_what_each_frame_says_alone(operations, tmp_path):
    by = ("--package", operations / "package", "--workers", 0, "--write", "cholec80")
    found = {}
    for name, more in (("plain", ()), ("merged", ("--least-segment-s", 8))):
        command("predict", operations / "new", *by, *more, "--out", tmp_path / name)
        (found[name],) = (tmp_path / name / "results").iterdir()
    plain, merged = (pq.read_table(one / "predictions.parquet") for one in found.values())
    assert merged == plain
    spans = read_segments(found["merged"] / "segments.json").spans
    assert all(one.end_s - one.start_s >= 8 for one in spans)
    before = read_segments(found["plain"] / "segments.json").spans
    assert min(one.end_s - one.start_s for one in before) < 8
    with (found["merged"] / "phases.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    alone = plain.column("class:phase").to_pylist()
    assert [row["phase_by_score"] for row in rows] == alone
    scores = np.array([[row[f"p_{name}"] for name in PHASES] for row in rows], float)
    wanted = [PHASES[one] for one in without_short(scores, np.arange(len(rows)) * 1.0, 8)]
    assert [row["phase"] for row in rows] == wanted != alone
    text = next(found["merged"].glob("*-phase.txt")).read_text().splitlines()[1:]
    assert [row.split("\t")[1] for row in text] == wanted
    told = json.loads((found["merged"] / "done.json").read_text())
    assert "from later frames" in json.dumps(told)
    about = json.loads((tmp_path / "merged" / "predict.json").read_text())
    assert "least_segment_s" in json.dumps(about)
