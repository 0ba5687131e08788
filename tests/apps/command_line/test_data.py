"""Wrong data is one line that says where, what and what to do; folders of others stay."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from histoscope.apps.cli import run
from histoscope.core.files import read_table
from tests.apps.command_line.road import (
    HERE,
    TILE,
    commands_with_out,
    snapshot,
)

# Classes, scale, what was seen


def test_classes_that_the_package_does_not_know_are_refused(road, refused, prepared, tmp_path):
    tiles = Path(shutil.copytree(road.tiles, tmp_path / "tiles"))
    (tiles / "test" / "tumour").rename(tiles / "test" / "fat")
    store = prepared(tiles)
    says = (store, "does not know (fat)", "knows stroma, tumour")
    refused("evaluate", road.package, store, says=says)
    says = (store, "train split", "none labelled fat", "needs one")
    refused("finetune", store, "--encoder", "colour", says=says)


def test_a_single_class_is_refused(road, refused, prepared, tmp_path):
    tiles = Path(shutil.copytree(road.tiles, tmp_path / "tiles"))
    for part in ("train", "test"):
        shutil.rmtree(tiles / part / "tumour")
    store = prepared(tiles, "--layout", "folders")
    says = (store, "stroma is the only class of 'tissue'", "two or more")
    refused("finetune", store, "--encoder", "colour", says=says)
    refused("evaluate", road.package, store, says=(store, "has no label", "tumour"))


def test_a_class_without_test_samples_is_unknown_and_said(road, call, prepared, tmp_path):
    tiles = Path(shutil.copytree(road.tiles, tmp_path / "tiles"))
    shutil.rmtree(tiles / "test" / "tumour")
    answer = call("evaluate", road.package, prepared(tiles), "--out", tmp_path / "out")
    assert answer.code == 0
    assert "recall of tumour undefined" in answer.out
    assert "no sample is of tumour" in answer.out
    body = json.loads((tmp_path / "out" / "metrics.json").read_text())["tasks"]["tissue"]
    assert body["recall"]["tumour"]["value"] is None
    assert body["recall"]["stroma"]["value"] is not None


def test_labels_that_are_not_there_are_refused(road, refused, prepared, tmp_path):
    unlabelled = tmp_path / "unlabelled"
    assert (
        run(
            [
                "prepare",
                "--domain",
                "pathology",
                str(road.slides),
                "--out",
                str(unlabelled),
                *TILE,
                *HERE,
            ]
        )
        == 0
    )
    refused("finetune", unlabelled, "--encoder", "colour", says=(unlabelled, "give --labels FILE"))
    words = ("finetune", road.store, "--encoder", "colour")
    refused(*words, "--task", "tisue", says=["no task 'tisue'", "--task with one of: tissue"])
    refused(*words, "--labels", tmp_path / "a.parquet", says=["a.parquet: no such file"])


@pytest.mark.parametrize(
    ("cut", "says"),
    [
        (("--size-px", "16", "--tile-mpp", "1"), ["made at mpp 0.5", "at mpp 1", "same scale"]),
        (("--size-px", "16"), ["images of 32 px", "holds 16 px", "--size-px 32"]),
    ],
    ids=["scale", "tile size"],
)
def test_another_scale_or_tile_size_is_refused(road, refused, prepared, cut, says):
    store = prepared(road.tiles, *cut)
    refused("evaluate", road.package, store, says=(road.package, store, *says))
    refused("finetune", store, "--encoder", road.run, says=(road.run, store, *says))
    start = ("--config", road.settings, "--init", road.run)
    refused("pretrain", store, *start, says=(road.run, store, *says))


def test_what_was_seen_is_refused_unless_allowed_and_then_said(road, call, refused, tmp_path):
    index = read_table(road.store / "index.parquet", "histoscope.index", 1).to_pylist()
    file = tmp_path / "split.csv"
    rows = [f"{row['id']},test" for row in index if row["split"] == "train"]
    file.write_text("\n".join(["id,split", *rows]))
    words = ("evaluate", road.package, road.store, "--split", f"{file}:test")
    refused(*words, says=(road.package, "was trained on", "of 16 samples", "--allow-seen"))
    answer = call(*words, "--allow-seen", "--out", tmp_path / "out")
    assert answer.code == 0
    assert "SEEN BEFORE" in answer.out
    body = json.loads((tmp_path / "out" / "metrics.json").read_text())
    cautions = body["tasks"]["tissue"]["cautions"]
    assert any("SEEN BEFORE" in caution for caution in cautions)
    assert "SEEN BEFORE" in (tmp_path / "out" / "report.html").read_text()


# Folders that hold something else


@pytest.mark.parametrize(
    "command", ["prepare", "pretrain", "finetune", "evaluate", "predict", "embed"]
)
def test_a_folder_that_holds_something_else_is_refused(road, refused, tmp_path, command):
    words = commands_with_out(road)[command]
    full, file = tmp_path / "full", tmp_path / "file"
    full.mkdir()
    (full / "precious.txt").write_text("mine")
    file.write_text("mine")
    for out, why in ((full, "not empty"), (file, "a file, where a folder is needed")):
        refused(*words, "--out", out, says=(f"{out}: {why}", "give another --out"))
    others = [road.store, road.run, road.package]
    own = {"prepare": 0, "pretrain": 1}
    for place, out in enumerate(others):
        if own.get(command) != place:
            before = snapshot(out)
            refused(*words, "--out", out, says=(f"{out}: not empty",))
            assert snapshot(out) == before
    assert snapshot(full) == {full / "precious.txt": b"mine"}
    assert file.read_text() == "mine"


def test_a_run_with_a_checkpoint_keeps_its_configuration(road, refused):
    before = snapshot(road.run)
    words = ("--config", road.settings, "--seed", "5", "--out", road.run)
    refused("pretrain", road.store, *words, says=(road.run, "another configuration", "--out"))
    assert snapshot(road.run) == before


def test_results_of_another_package_or_other_options_are_kept(road, call, refused, tmp_path):
    out = tmp_path / "predicted"
    words = commands_with_out(road)["predict"]
    assert call(*words, "--out", out).code == 0
    before = snapshot(out)
    says = (out, "options.default_mpp: None there, 1.0 now", "--out")
    refused(*words, "--default-mpp", "1", "--out", out, says=says)
    other = tmp_path / "other"
    assert run(["finetune", str(road.store), "--encoder", "colour", "--out", str(other)]) == 0
    words = ("predict", road.slides, "--package", other, *HERE, "--out", out)
    refused(*words, says=(out, "other settings (model: ", "--out"))
    assert snapshot(out) == before
    assert call(*commands_with_out(road)["predict"], "--out", out).code == 0
    assert snapshot(out) == before
