"""A probe of the best layer, from a run to the report of new sources."""

from __future__ import annotations

import json

import pyarrow.parquet as pq

from tests.apps.command_line.road import FEW, HERE


def test_a_run_is_cut_where_its_labels_are_told_best(road, call, tmp_path):
    package, words = tmp_path / "p", ("finetune", road.store, "--encoder", road.run, *FEW)
    answer = call(*words, "--cut", "choose", "--out", package)
    assert answer.code == 0, answer
    layers = "act1, layer1, layer2, layer3, usual, head.1, head.2"
    assert f"--cut choose: each draw chooses among {layers}" in answer.err
    settings = json.loads((package / "package.json").read_text())["heads"][0]["settings"]
    cuts = [one["cut"] for one in settings]
    assert set(cuts) <= set(layers.split(", "))
    assert call("evaluate", package, road.store, "--out", tmp_path / "e").code == 0
    assert f"cut {cuts[0]}" in (tmp_path / "e" / "report.html").read_text(encoding="utf-8")
    by = ("--package", package, "--out", tmp_path / "o", *HERE)
    assert call("predict", road.slides, *by).code == 0
    assert (
        call("embed", road.slides, "--package", package, "--out", tmp_path / "f", *HERE).code == 0
    )
    (table, *_) = (tmp_path / "f").glob("features/*/features.parquet")
    (features,) = pq.read_table(table, columns=["features"]).schema
    assert features.type.list_size == 96  # of the network alone


def test_weights_are_trained_up_to_a_layer_of_the_head(road, call, tmp_path):
    package, words = tmp_path / "p", ("finetune", road.store, "--encoder", road.run, *FEW)
    tuned = ("--method", "full", "--set", "full.steps=2", "--cut", "head.1")
    answer = call(*words, *tuned, "--out", package)
    assert answer.code == 0, answer
    assert call("evaluate", package, road.store, "--out", tmp_path / "e").code == 0
    assert "cut head.1" in (tmp_path / "e" / "report.html").read_text(encoding="utf-8")
    by = ("--package", package, *HERE)
    assert call("predict", road.slides, *by, "--out", tmp_path / "o").code == 0
    assert call("embed", road.slides, *by, "--out", tmp_path / "f").code == 0
    (table, *_) = (tmp_path / "f").glob("features/*/features.parquet")
    (features,) = pq.read_table(table, columns=["features"]).schema
    assert features.type.list_size == 96  # of the network alone, as it was tuned


def test_a_layer_that_is_not_there_is_refused_with_those_that_are(road, call, tmp_path):
    words = ("finetune", road.store, "--encoder", road.run, *FEW, "--out", tmp_path / "p")
    answer = call(*words, "--cut", "head.3")
    assert answer.code == 2
    assert "has no such layer, did you mean 'head.2'" in answer.err
    answer = call(*words, "--cut", "choose", "--method", "knn")
    assert answer.code == 2
    said = "is of --method probe, full and probe_full; knn reads the usual output"
    assert answer.err.splitlines()[-1].endswith(said)
    assert not (tmp_path / "p").exists()
