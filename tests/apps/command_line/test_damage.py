"""Pickles are never opened; damaged and newer files are refused."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from histoscope.core.files import read_table, write_table

# Weights that are pickles, encoders that are none


class Trap:
    """Unpickling it leaves a file behind."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "unpickled"
    yield path
    assert not path.exists()


def sign(folder: Path) -> None:
    """Write a package's SHA256SUMS anew."""
    names = [line.partition("  ")[2] for line in (folder / "SHA256SUMS").read_text().splitlines()]
    sums = [f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in names]
    (folder / "SHA256SUMS").write_text("".join(sums))


def test_the_trap_works(tmp_path):
    torch.save({"weight": Trap(tmp_path / "a")}, tmp_path / "a.pth")
    torch.load(tmp_path / "a.pth", weights_only=False)["weight"].close()
    pickle.loads(pickle.dumps(Trap(tmp_path / "b"))).close()  # noqa: S301
    assert (tmp_path / "a").exists()
    assert (tmp_path / "b").exists()


@pytest.mark.parametrize("name", ["weights.pth", "weights.pt", "weights.safetensors"])
def test_a_pickle_is_no_encoder(road, refused, marker, tmp_path, name):
    file = tmp_path / name
    torch.save({"weight": Trap(marker)}, file)
    says = (file, "pickled weights are never loaded", "a run's or a package's folder")
    refused("finetune", road.store, "--encoder", file, says=(*says, "timm:NAME"))
    start = ("--config", road.settings, "--init", file)
    refused("pretrain", road.store, *start, says=says)
    refused("embed", road.slides, "--encoder", file, says=says)
    says = (file, "a file is no model package", "folder")
    refused("predict", road.slides, "--package", file, says=says)
    refused("evaluate", file, road.store, says=says)


def test_a_package_of_pickled_weights_is_refused(road, refused, marker, tmp_path):
    package = Path(shutil.copytree(road.package, tmp_path / "package"))
    torch.save({"weight": Trap(marker)}, package / "model.safetensors")
    sign(package)
    says = (package / "model.safetensors", "not a safetensors file", "never loaded")
    refused("predict", road.slides, "--package", package, says=says)
    refused("evaluate", package, road.store, says=says)
    refused("finetune", road.store, "--encoder", package, says=says)
    refused("embed", road.slides, "--package", package, says=says)


def test_a_run_of_pickled_weights_is_refused(road, refused, marker, tmp_path):
    other = Path(shutil.copytree(road.run, tmp_path / "run"))
    torch.save({"weight": Trap(marker)}, other / "encoder.safetensors")
    says = (other / "encoder.safetensors", "never loaded")
    refused("finetune", road.store, "--encoder", other, says=says)
    start = ("--config", road.settings, "--init", other)
    refused("pretrain", road.store, *start, says=says)


@pytest.mark.parametrize("name", ["package.json", "seen.parquet"])
def test_a_pickle_elsewhere_in_a_package_is_refused(road, refused, marker, tmp_path, name):
    package = Path(shutil.copytree(road.package, tmp_path / "package"))
    (package / name).write_bytes(pickle.dumps(Trap(marker)))
    sign(package)
    refused("predict", road.slides, "--package", package, says=(package / name, "not a"))


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("timm:resnet10tt", ["timm knows no 'resnet10tt'", "did you mean 'resnet10t'?"]),
        ("random:resnet10tt", ["timm knows no 'resnet10tt'", "did you mean 'resnet10t'?"]),
        ("colours", ["colours: no encoder here", "timm:NAME, random:NAME or colour"]),
    ],
)
def test_an_unknown_encoder_is_refused(road, refused, word, says):
    refused("finetune", road.store, "--encoder", word, says=says)
    start = ("--config", road.settings, "--init", word)
    refused("pretrain", road.store, *start, says=says)


def test_an_unknown_network_is_refused(road, refused):
    words = ("--config", road.settings, "--set", "encoder=resnet10tt")
    refused("pretrain", road.store, *words, says=["did you mean 'resnet10t'?"])
    start = ("--config", road.settings, "--init", "colour")
    refused("pretrain", road.store, *start, says=["--init colour", "no weights to train"])
    refused("embed", road.slides, "--encoder", "colour", says=["no encoder", "run's or a package"])


def test_weights_that_cannot_be_had_are_refused(road, refused, monkeypatch):
    def offline(*words: object, **more: object) -> None:
        raise OSError("cannot reach\nthe hub")

    monkeypatch.setattr("timm.create_model", offline)
    says = ["timm:resnet10t", "cannot reach the hub", "give a run, a package or random:resnet10t"]
    refused("finetune", road.store, "--encoder", "timm:resnet10t", says=says)


@pytest.mark.parametrize(("device", "count"), [("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)])
def test_a_gpu_that_is_not_there_is_refused(road, refused, monkeypatch, device, count):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    words = ("--config", road.settings, "--device", device)
    refused("pretrain", road.store, *words, says=[f"--device {device}: torch finds", "GPU"])


# Damaged and newer files


def edit(file: Path, **values: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def change_json(package: Path) -> None:
    edit(package / "package.json", program="0.0.1")


def cut_weights(package: Path) -> None:
    file = package / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])


def drop_file(package: Path) -> None:
    (package / "seen.parquet").unlink()


def drop_sums(package: Path) -> None:
    (package / "SHA256SUMS").unlink()


def scramble_sums(package: Path) -> None:
    (package / "SHA256SUMS").write_bytes(b"\xff\xfe")


def empty_sums(package: Path) -> None:
    (package / "SHA256SUMS").write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (change_json, ["package.json was changed after the package was made"]),
        (cut_weights, ["model.safetensors was changed after the package was made"]),
        (drop_file, ["seen.parquet is listed in SHA256SUMS but missing"]),
        (drop_sums, ["no model package here (SHA256SUMS is missing)"]),
        (scramble_sums, ["SHA256SUMS is damaged", "copy the package again"]),
        (empty_sums, ["SHA256SUMS does not list MODEL_CARD.md"]),
    ],
)
def test_a_damaged_package_is_refused(road, refused, tmp_path, damage, says):
    package = Path(shutil.copytree(road.package, tmp_path / "package"))
    damage(package)
    refused("predict", road.slides, "--package", package, says=(package, *says))
    refused("evaluate", package, road.store, says=(package, *says))


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"head.0.0.weight": torch.zeros(2, 7), "head.0.0.bias": torch.zeros(2)},
        {"head.0.0.weight": torch.zeros(2, 18)},
        {"stray": torch.zeros(1)},
        {"head.x.weight": torch.zeros(1)},
    ],
    ids=["none", "other width", "no bias", "no part", "no draw"],
)
def test_heads_that_are_not_those_described_are_refused(road, refused, tmp_path, tensors):
    package = Path(shutil.copytree(road.package, tmp_path / "package"))
    kept = load_file(package / "model.safetensors") if len(tensors) == 1 else {}
    kept.pop("head.0.0.bias", None)
    save_file({**kept, **tensors}, package / "model.safetensors")
    sign(package)
    refused("predict", road.slides, "--package", package, says=(package, "model.safetensors"))


def test_newer_files_are_refused(road, refused, tmp_path):
    newer = ["is newer than this program reads", "install a newer histoscope"]
    package = Path(shutil.copytree(road.package, tmp_path / "package"))
    edit(package / "package.json", version=9, more="what only a newer program knows")
    sign(package)
    says = (package / "package.json", "histoscope.package version 9", *newer)
    refused("predict", road.slides, "--package", package, says=says)
    refused("evaluate", package, road.store, says=says)

    other = Path(shutil.copytree(road.run, tmp_path / "run"))
    edit(other / "encoder.json", version=9)
    says = (other / "encoder.json", "histoscope.encoder version 9", *newer)
    refused("finetune", road.store, "--encoder", other, says=says)

    store = Path(shutil.copytree(road.store, tmp_path / "store"))
    table = read_table(store / "index.parquet", "histoscope.index", 1)
    write_table(store / "index.parquet", "histoscope.index", 2, table)
    says = (store / "index.parquet", "histoscope.index version 2", *newer)
    refused("pretrain", store, "--config", road.settings, says=says)
    edit(store / "store.json", version=9)
    says = (store / "store.json", "histoscope.store version 9", *newer)
    refused("pretrain", store, "--config", road.settings, says=says)
    refused("finetune", store, "--encoder", "colour", says=says)
    refused("evaluate", road.package, store, says=says)


def test_what_is_no_store_is_refused(road, refused, tmp_path):
    says = (road.tiles, "no finished store", "histoscope prepare")
    refused("pretrain", road.tiles, "--config", road.settings, says=says)
    store = Path(shutil.copytree(road.store, tmp_path / "store"))
    (store / "store.json").unlink()
    says = (store, "prepare was interrupted", "run the same command again")
    refused("finetune", store, "--encoder", "colour", says=says)


@pytest.mark.parametrize("left", [None, 200], ids=["missing", "cut"])
def test_a_store_with_a_bad_shard_is_refused(road, call, tmp_path, left):
    store = Path(shutil.copytree(road.store, tmp_path / "store"))
    (shard,) = (store / "shards").iterdir()
    data = shard.read_bytes()
    shard.unlink()
    if left:
        shard.write_bytes(data[:left])
    answer = call("evaluate", road.package, store, "--out", tmp_path / "out")
    assert answer.code == 2
    last = answer.err.splitlines()[-1]
    assert last.startswith(f"histoscope: {shard}: ")
    assert "copy the store again, or prepare it anew" in last
