"""Heads that read the samples of a source in order: what they see, and whose answer is whose."""

import importlib
import json
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest

from histoscope.core.config import build
from histoscope.core.data.examples import in_sources
from histoscope.core.data.stretches import stretches
from histoscope.core.evaluation.predictions import read_predictions
from histoscope.core.heads.contract import Bags
from histoscope.core.inference.runner import Runner
from histoscope.core.learning.spec import FinetuneSpec
from histoscope.core.progress import Silent
from histoscope.core.runtime.device import AUTO
from histoscope.core.stages.encoders import open_encoder
from histoscope.core.stages.evaluate import evaluate
from histoscope.core.stages.finetune import finetune
from histoscope.core.stages.folds import cross_validate
from histoscope.core.stages.predict import predict
from histoscope.core.stages.suggest import suggest
from histoscope.core.work.local import Local
from tests.made import prepared_by_case


@pytest.fixture
def store(toy, tmp_path):
    """Eight cases, half of them to train on; in each a sample that cannot be read, in two a gap."""
    folder = tmp_path / "sources"
    folder.mkdir()
    for seed in range(8):
        part = "train" if seed % 2 else "test"
        file = folder / f"c{seed}-{part}.npy"
        toy.write_stack(file, 8 + 2 * (seed % 3), seed)
        images = np.load(file)
        images[seed % 5, 0, 0, 0] = 255  # cannot be read
        if seed in (2, 5):
            images[5:7, 0, 0, 0] = 255
        np.save(file, images)
    return prepared_by_case(toy, folder, tmp_path / "store")


def spec_of(method, draws=2):
    more = {"mstcn": {"steps": 3, "layers": 3}} if method == "mstcn" else {}
    return build(FinetuneSpec, {"method": method, "fraction": 0.3, "draws": draws, **more}, "test")


def learn(store, out, method="past", **more):
    return finetune(store, "colour", spec_of(method, **more), out, progress=Silent())


def rows_of(store, **wanted):
    """Readable index rows by source, in order."""
    found = {}
    for place, row in enumerate(store.index.to_pylist()):
        if row["status"] == "ok" and all(row[name] == value for name, value in wanted.items()):
            found.setdefault(row["source"], []).append(place)
    return found


def answers(store, package, draw=0):
    """What a head says of each readable sample when it is asked source by source, by its id."""
    runner, told = Runner.of(package.encoder(), AUTO), {}
    ids = store.index.column("id").to_pylist()
    places = store.index.column("place").to_pylist()
    for rows in stretches_of(rows_of(store).values(), places):
        features = runner.features(store.reader.image(row) for row in rows)
        scores = package.head(0, draw).probabilities(Bags.of_one(features))
        told |= {ids[row]: score for row, score in zip(rows, scores, strict=True)}
    return told


def stretches_of(sources, places):
    """Sources cut where the toy domain says that too much is missing."""
    found = []
    for rows in sources:
        found.append([rows[0]])
        for before, row in pairwise(rows):
            if places[row] - places[before] > 2:
                found.append([])
            found[-1].append(row)
    return found


def test_samples_stand_among_the_others_of_their_sources(store):
    held = [rows for rows in rows_of(store).values() if not has_gap(store, rows)]
    asked = np.array([held[2][3], held[0][1], held[2][0]])
    among = np.concatenate([held[2][:5], held[0], held[1]])[::-1]
    read = in_sources(store, asked, among)
    assert read.rows.tolist() == [*held[0], *held[2][:5]]
    assert read.starts.tolist() == [0, len(held[0]), len(held[0]) + 5]
    assert read.rows[read.places].tolist() == asked.tolist()
    assert in_sources(store, asked[:0], among).starts.tolist() == [0]


def has_gap(store, rows):
    places = store.index.column("place").to_pylist()
    return len(stretches_of([rows], places)) > 1


def test_a_source_with_a_gap_is_two_bags(store):
    whole, cut = [], []
    for rows in rows_of(store).values():
        (cut if has_gap(store, rows) else whole).append(rows)
    assert (len(whole), len(cut)) == (6, 2)
    read = in_sources(store, np.array([cut[0][0]]), np.concatenate([whole[0], cut[0], cut[1]]))
    places = store.index.column("place").to_pylist()
    first, second = stretches_of([cut[0]], places)
    assert read.rows.tolist() == [*first, *second] == cut[0]
    assert read.starts.tolist() == [0, len(first), len(cut[0])]


def test_a_domain_that_knows_of_no_gaps_has_none(toy, store):
    rows = store.index.take(max(rows_of(store).values(), key=len))
    assert stretches(object(), rows).tolist() == [0, len(rows)]
    assert stretches(toy.DOMAIN, rows[:0]).tolist() == [0]


def test_a_method_sees_whole_sources_of_the_part_and_only_the_labels_of_its_draw(store, tmp_path):
    (head,) = learn(store, tmp_path / "p").info.heads
    drawn = pq.read_table(tmp_path / "p" / "draws.parquet").to_pylist()
    train = rows_of(store, split="train")
    places = store.index.column("place").to_pylist()
    source_of = {row["id"]: row["source"] for row in store.index.to_pylist()}
    for draw, told in enumerate(head.settings):
        names = [row["sample"] for row in drawn if row["draw"] == draw]
        sources = {source_of[name] for name in names}
        rows = sum(len(train[source]) for source in sources)
        bags = stretches_of([train[source] for source in sources], places)
        assert told == {"bags": len(bags), "rows": rows, "labels": len(names)}
        assert rows > len(names)


@pytest.mark.parametrize("method", ["past", "mstcn"])
def test_every_command_answers_as_the_head_does_source_by_source(toy, store, tmp_path, method):
    package = learn(store, tmp_path / "p", method)
    assert package.info.heads[0].kind == method
    evaluate(package, store, tmp_path / "e", progress=Silent())
    found = read_predictions(tmp_path / "e", package.tasks[0], 2)
    for draw in range(2):
        wanted = answers(store, package, draw)
        for name, score in zip(found.names, found.scores[draw], strict=True):
            assert np.allclose(score, wanted[name], atol=1e-6)
    wanted, where = answers(store, package), {"input": tmp_path / "sources"}
    given = toy.ToyOptions(with_cases=True)
    predict(package.folder, where, given, tmp_path / "o", engine=Local(0), progress=Silent())
    count = 0
    for file in (tmp_path / "o" / "results").glob("*/predictions.parquet"):
        for row in pq.read_table(file).to_pylist():
            told = [row[f"p:hue:{name}"] for name in package.tasks[0].classes]
            if row["status"] != "ok":
                assert told == [None] * len(told)
                continue
            assert np.allclose(told, wanted[row["id"]], atol=1e-6)
            count += 1
    assert count == len(wanted)


def test_what_it_doubts_is_suggested_as_it_answers_in_order(store, tmp_path):
    package = learn(store, tmp_path / "p", draws=1)
    runner = Runner.of(open_encoder("colour", store, 0), AUTO)
    head, wanted = package.head(0), answers(store, package)
    found = suggest(store, runner, package.tasks[0], [], 5, head=head, progress=Silent())
    for row in found.table.to_pylist():
        low, high = np.sort(wanted[row["id"]])[-2:]
        assert row["uncertainty"] == pytest.approx(1 - (high - low), abs=1e-6)


def test_folds_answer_as_packages_of_the_other_folds(store, tmp_path):
    cross_validate(store, "colour", spec_of("past"), 2, tmp_path / "cv", progress=Silent())
    body = json.loads((tmp_path / "cv" / "metrics.json").read_text())["tasks"]["hue"]
    assert body["samples"] == sum(map(len, rows_of(store).values()))
    folds = importlib.import_module("histoscope.core.stages.folds")
    hue = folds.labelled(store, folds.EVERY, store.labels(), None)
    fold_of = folds.deal([hue], 2, 0)
    found = read_predictions(tmp_path / "cv", hue.task, 2)
    units = dict(zip(hue.names, hue.units, strict=True))
    for fold in range(2):
        file = tmp_path / f"split-{fold}.csv"
        parts = [f"{n},{'test' if fold_of[u] == fold else 'train'}" for n, u in units.items()]
        file.write_text("\n".join(["id,split", *parts]) + "\n")
        more = {"split": f"{file}:train", "progress": Silent()}
        package = finetune(store, "colour", spec_of("past"), tmp_path / f"p{fold}", **more)
        wanted = answers(store, package)
        for place, name in enumerate(found.names):
            if fold_of[units[name]] == fold:
                assert np.allclose(found.scores[0][place], wanted[name], atol=1e-6)


def test_sources_of_which_nothing_can_be_read_have_no_answers(toy, store, tmp_path):
    package, folder = learn(store, tmp_path / "p"), tmp_path / "bad-ones"
    folder.mkdir()
    toy.write_stack(folder / "corrupt.npy", 4, 0)
    images = np.load(folder / "corrupt.npy")
    images[:, 0, 0, 0] = 255
    np.save(folder / "corrupt.npy", images)
    np.save(folder / "none.npy", images[:0])
    given = toy.ToyOptions()
    where, how = {"input": folder}, {"engine": Local(0), "progress": Silent()}
    outcomes = predict(package.folder, where, given, tmp_path / "o", **how)
    assert {one.source.path: one.status for one in outcomes} == {
        "corrupt.npy": "failed",
        "none.npy": "empty",
    }


def test_from_twenty_cases_on_scores_over_time_are_calibrated(toy, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for seed in range(21):
        toy.write_stack(folder / f"c{seed}-train.npy", 6, seed)
    many = prepared_by_case(toy, folder, tmp_path / "of-many")
    heads = {}
    for name, fraction in (("all", 1.0), ("few", 0.5)):
        how = {"method": "mstcn", "fraction": fraction, "draws": 1, "draw_by": "case"}
        spec = build(FinetuneSpec, {**how, "mstcn": {"steps": 5, "layers": 2}}, "test")
        package = finetune(many, "colour", spec, tmp_path / name, progress=Silent())
        (heads[name],) = package.info.heads
    assert heads["all"].calibration["kind"] == "temperature"
    (told,) = heads["all"].settings
    assert told["held_out"] == "cases"
    assert told["temperature"] > 0
    assert heads["few"].calibration["reason"].endswith("fewer than 100; scores only rank")
    assert heads["few"].settings == [{"causal": True}]
