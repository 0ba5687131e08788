"""The command line: wrong use is one line and exit code 2, and leaves nothing behind."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from histoscope.apps.cli import COMMANDS, main, run
from histoscope.core.files import read_table, write_table

PLUGIN = Path(__file__).parents[1] / "toy_plugin"
TILE = ("--size-px", "32", "--tile-mpp", "0.5")
HERE = ("--workers", "0")
SET = ("--mpp", "0.5", *TILE, *HERE)
FEW = ("--fraction", "0.5", "--draws", "2")
COLOURS = {"stroma": (200, 120, 160), "tumour": (120, 70, 150)}
SMALL = """
encoder: resnet10t
training: {steps: 2, batch_size: 8, workers: 0, threads: 1, checkpoint_every: 1, device: cpu}
"""


@dataclass(frozen=True)
class Answer:
    """What one command line gave."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Road:
    """Everything that the commands read and write, made once; tests change copies only."""

    tiles: Path
    slides: Path
    settings: Path
    store: Path
    run: Path
    package: Path


def paint(kind: str, side: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 20, (side, side, 3))
    return np.clip(np.array(COLOURS[kind]) + noise, 0, 255).astype(np.uint8)


def write_slide(path: Path, pixels: np.ndarray) -> None:
    """A tiled TIFF at 0.5 um/px."""
    tifffile.imwrite(
        path,
        pixels,
        tile=(64, 64),
        compression="zlib",
        photometric="rgb",
        metadata=None,
        resolution=(20_000, 20_000),
        resolutionunit="CENTIMETER",
    )


@pytest.fixture(scope="session")
def road(tmp_path_factory: pytest.TempPathFactory) -> Road:
    base = tmp_path_factory.mktemp("road")
    made = Road(*(base / name for name in ("tiles", "slides", "small.yaml", "store", "run", "p")))
    for place, (part, count) in enumerate([("train", 8), ("test", 5)]):
        for kind in COLOURS:
            folder = made.tiles / part / kind
            folder.mkdir(parents=True)
            for seed in range(count):
                tile = paint(kind, 32, 100 * place + seed)
                Image.fromarray(tile).save(folder / f"{kind}{seed}.png")
    made.slides.mkdir()
    pixels = np.full((192, 192, 3), 245, np.uint8)
    pixels[32:160, 32:160] = paint("tumour", 128, 7)
    write_slide(made.slides / "one.tif", pixels)
    made.settings.write_text(SMALL)
    for words in (
        ("prepare", "--domain", "pathology", made.tiles, "--out", made.store, *SET),
        ("pretrain", made.store, "--out", made.run, "--config", made.settings),
        ("finetune", made.store, "--encoder", "colour", "--out", made.package, *FEW),
    ):
        assert run([str(word) for word in words]) == 0
    return made


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Run one command line in this process."""

    def act(*words: object) -> Answer:
        capsys.readouterr()
        code = run([str(word) for word in words])
        return Answer(code, *capsys.readouterr())

    return act


@pytest.fixture
def refused(call: Callable[..., Answer], tmp_path: Path) -> Callable[..., str]:
    """Run a command line into a folder that must not appear; it must end in one line."""

    def act(*words: object, says: tuple[object, ...]) -> str:
        out = tmp_path / "refused"
        answer = call(*words, *(() if "--out" in words else ("--out", out)))
        assert answer.code == 2, answer
        assert answer.out == ""
        assert answer.err.endswith("\n")
        (line,) = answer.err.splitlines()
        assert line.startswith("histoscope: ")
        for word in says:
            assert str(word) in line
        assert not out.exists()
        return line

    return act


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Configuration


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("encodr: resnet18", ["encodr: unknown key", "did you mean 'encoder'?"]),
        ("training: {stepz: 3}", ["training.stepz: unknown key", "did you mean 'steps'?"]),
        ("views: {domain: {stian: 1}}", ["stian: unknown key", "did you mean 'stain'?"]),
        ("training: {steps: many}", ["training.steps: input should be a valid integer", "'many'"]),
        ("training: {steps: yes}", ["training.steps: input should be a number", "True"]),
        ("training:", ["training: input should be a valid dictionary"]),
        ("training: {steps: 0}", ["training.steps", "greater than or equal to 1 (given 0)"]),
        ("objective: {temperature: 5}", ["temperature.value", "less than or equal to 2"]),
        ("training:\n  steps: 3\n  steps: 4", ["wrong.yaml:2: steps stands twice"]),
        ("a: [1", ["not YAML"]),
        ("- a", ["expected keys and values"]),
        ("a: !!python/name:os.system", ["not YAML", "python/name"]),
    ],
    ids=[
        "unknown key",
        "unknown inner key",
        "unknown key of the domain",
        "wrong type",
        "truth value for a number",
        "empty section",
        "out of range",
        "out of range in the short form",
        "key twice",
        "broken",
        "list",
        "python object",
    ],
)
def test_a_wrong_configuration_file_is_refused(road, refused, tmp_path, text, says):
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    where = () if "domain" in text else (file,)  # the domain's part is read beside the store
    refused("pretrain", road.store, "--config", file, says=(*where, *says))


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("objective.temprature=1", ["did you mean 'temperature'?"]),
        ("training.steps=many", ["training.steps", "valid integer", "'many'"]),
        ("training.steps=true", ["training.steps", "should be a number"]),
        ("training.steps=0", ["training.steps", "greater than or equal to 1"]),
        ("training.optimiser.learning_rate=.nan", ["learning_rate", "greater than 0"]),
        ("objective={base: simclr, base: simclr}", ["objective={base", "base stands twice"]),
        ("training.steps", ["training.steps: expected KEY=VALUE", "for example"]),
        ("=3", ["expected KEY=VALUE"]),
        ("training.steps=[1", ["training.steps=[1: the value is not YAML"]),
        ("encoder.depth=1", ["encoder: input should be a valid string"]),
    ],
)
def test_a_wrong_set_is_refused(road, refused, word, says):
    refused("pretrain", road.store, "--set", word, says=("--set", *says))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--preset", "simclrr"], ["--preset simclrr", "did you mean 'simclr'?", "known: simclr"]),
        (["--preset", "../recipe/simclr"], ["unknown", "known: simclr"]),
        (["--config", "absent.yaml"], ["absent.yaml: no such file"]),
        (["--config", "."], [".: cannot be read", "directory"]),
        (["--steps", "0"], ["command line: training.steps", "greater than or equal to 1"]),
        (["--steps", "x"], ["--steps", "'x' is not a valid integer", "pretrain --help"]),
        (["--device", "mps"], ["--device mps: unknown", "give auto, cpu, cuda or cuda:N"]),
        (["--set", "training.batch_size=100"], ["16 samples are fewer", "100", "smaller batch"]),
        (["--split", "x"], ["--split x: expected FILE:PART"]),
        (["--split", ".:train"], [".: no such file"]),
    ],
    ids=" ".join,
)
def test_a_wrong_setting_of_pretraining_is_refused(road, refused, words, says):
    refused("pretrain", road.store, "--config", road.settings, *words, says=says)


def test_a_dry_run_refuses_what_the_run_would(road, refused):
    large = ("--config", road.settings, "--set", "training.batch_size=100", "--dry-run")
    refused("pretrain", road.store, *large, says=["fewer than one batch"])


def test_a_number_with_an_exponent_is_a_number(road, call, tmp_path):
    words = ("--config", road.settings, "--set", "training.optimiser.learning_rate=1e-4")
    answer = call("pretrain", road.store, *words, "--dry-run", "--out", tmp_path / "run")
    assert answer.code == 0
    assert "learning_rate: 0.0001" in answer.out


# Commands and flags


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["pretran"], ["unknown command 'pretran'", "did you mean 'pretrain'?", "--help"]),
        (["xyz"], ["unknown command 'xyz'", "--help"]),
        ([], ["Missing command", "histoscope --help"]),
        (
            ["prepare", "--domain", "pathology", "x", "--outt", "y"],
            ["--outt", "'--out'", "histoscope prepare --help"],
        ),
        (
            ["prepare", "--domain", "pathology", "x"],
            ["Missing option '--out'", "histoscope prepare --help"],
        ),
        (["finetune", "x", "--out", "y"], ["Missing option '--encoder'", "finetune --help"]),
        (
            ["prepare", "--domain", "pathology", "--out", "y"],
            ["Missing argument 'INPUTS...'", "prepare --help"],
        ),
        (["prepare", "--domain", "pathology", "x", "--out"], ["'--out' requires an argument"]),
        (["pretrain", "x", "y", "--out", "z"], ["unexpected extra argument (y)"]),
        (
            ["prepare", "--domain", "pathology", "x", "--out", "y", "--encoding", "jpg"],
            ["'jpg'", "'jpeg', 'lossless'"],
        ),
        (
            ["prepare", "--domain", "pathology", "x", "--out", "y", "--workers", "-1"],
            ["--workers", "-1"],
        ),
        (["demo", "--out", "y", "--steps", "0"], ["--steps", "0"]),
        (["demo", "--out", "y", "--draws", "1"], ["--draws", "x>=2"]),
    ],
    ids=lambda words: " ".join(words) or "nothing",
)
def test_a_wrong_command_line_is_refused(call, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    answer = call(*words)
    assert (answer.code, answer.out) == (2, "")
    (line,) = answer.err.splitlines()
    assert line.startswith("histoscope: ")
    assert all(word in line for word in says), line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shard", ["3/2", "0/2", "x", "1", "1/0", "-1/2", "1/2/3", "²/3"])
def test_a_shard_that_is_none_is_refused(road, refused, shard):
    words = ("predict", road.slides, "--package", road.package, "--shard", shard)
    refused(*words, says=[f"--shard {shard}: expected I/N with 1 <= I <= N", "2/5"])


def test_embed_wants_one_of_package_and_encoder(road, refused):
    both = ("--package", road.package, "--encoder", road.run)
    for words in ((), both):
        refused("embed", road.slides, *words, says=["give either --package or --encoder"])


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two domains from outside, ``toy`` and one that does not load; flags are made anew."""
    monkeypatch.syspath_prepend(str(PLUGIN))
    importlib.invalidate_caches()
    commands = [name for name in sys.modules if name.startswith("histoscope.apps.commands.")]
    for name in commands:
        monkeypatch.delitem(sys.modules, name)
    yield
    for name in [name for name in sys.modules if name.startswith("histoscope.apps.commands.")]:
        del sys.modules[name]
    sys.modules.pop("toy_domain", None)


def test_a_flag_of_another_domain_is_refused(road, refused, plugin):
    wrong = ("prepare", "--domain", "pathology", road.tiles, "--domain", "toy", "--mpp", "0.5")
    refused(*wrong, says=["--mpp is not a flag of domain 'toy'"])
    wrong = ("prepare", "--domain", "pathology", road.tiles, *SET, "--pitch", "2")
    refused(*wrong, says=["--pitch is not a flag of domain 'pathology'"])
    wrong = ("predict", road.slides, "--package", road.package, "--with-cases")
    refused(*wrong, says=["--with-cases is not a flag of domain 'pathology'"])


def test_a_broken_plug_in_is_named_and_the_rest_works(road, call, refused, plugin, tmp_path):
    dry = ("--out", tmp_path / "store", "--dry-run")
    answer = call("prepare", "--domain", "pathology", road.tiles, *SET, *dry)
    assert (answer.code, answer.err) == (0, "")
    says = ["domain 'broken' of toy-domain does not load"]
    refused("prepare", road.tiles, "--domain", "broken", says=says)
    refused("prepare", road.tiles, "--domain", "tox", says=["did you mean 'toy'?", "pathology"])
    found = json.loads(call("doctor", "--json").out)
    assert says[0] in found["problems"]
    assert found["domains"] == "pathology, surgery, toy"


# Inputs


def test_an_empty_folder_is_refused(road, refused, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    says = (f"{empty}: no slide or picture found", "give a folder or file")
    refused("prepare", "--domain", "pathology", empty, says=says)
    refused("predict", empty, "--package", road.package, says=says)
    refused("embed", empty, "--package", road.package, says=says)
    refused(
        "prepare",
        "--domain",
        "pathology",
        empty,
        "--layout",
        "folders",
        *SET,
        says=[f"{empty}: no picture below it"],
    )
    text = tmp_path / "notes.txt"
    text.write_text("no slide")
    refused("prepare", "--domain", "pathology", text, says=[f"{text}: no slide or picture found"])


def test_a_missing_input_is_refused(road, refused, tmp_path):
    says = [f"{tmp_path / 'absent'}: no such file or folder"]
    refused("prepare", "--domain", "pathology", tmp_path / "absent", says=says)
    refused("predict", tmp_path / "absent", "--package", road.package, says=says)
    refused(
        "prepare",
        "--domain",
        "pathology",
        road.tiles,
        "--root",
        f"a={tmp_path / 'absent'}",
        says=says,
    )
    refused(
        "prepare",
        "--domain",
        "pathology",
        road.tiles,
        "--root",
        "a",
        says=["--root a: expected NAME=PATH"],
    )


def test_a_missing_table_is_refused_before_any_slide_is_opened(road, refused, tmp_path):
    for flag in ("--mpp-csv", "--cases"):
        words = ("predict", road.slides, "--package", road.package, *HERE, flag, tmp_path / "a.csv")
        refused(*words, says=[f"{tmp_path / 'a.csv'}: No such file"])


def test_a_folder_with_two_layouts_is_refused(road, refused, tmp_path):
    both = Path(shutil.copytree(road.tiles, tmp_path / "both"))
    shutil.copy(road.slides / "one.tif", both / "train" / "one.svs")
    refused(
        "prepare",
        "--domain",
        "pathology",
        both,
        *SET,
        says=(both, "two layouts, folders and slides", "--layout"),
    )


def test_labelled_tiles_without_a_scale_are_refused(road, refused):
    refused(
        "prepare",
        "--domain",
        "pathology",
        road.tiles,
        *TILE,
        says=(road.tiles, "no scale", "give --mpp"),
    )
    says = ["--mpp is for labelled sets", "--default-mpp or --mpp-csv"]
    refused("prepare", "--domain", "pathology", road.slides, "--mpp", "0.5", says=says)


def test_tiles_too_small_are_refused_and_the_mended_command_may_use_the_same_folder(
    road, call, tmp_path
):
    words = (
        "prepare",
        "--domain",
        "pathology",
        road.tiles,
        "--mpp",
        "0.5",
        *HERE,
        "--out",
        tmp_path / "store",
    )
    answer = call(*words)
    assert answer.code == 2
    last = answer.err.splitlines()[-1]
    assert last.startswith(f"histoscope: {road.tiles}: tiles of 32 x 32 px at 0.5 um/px show 16.0")
    assert "give a smaller --size-px" in last
    assert call(*words, *TILE).code == 0
    answer = call(*words, "--size-px", "16")
    assert answer.code == 2
    assert "prepared with other settings (sampling)" in answer.err


# Classes, scale, what was seen


@pytest.fixture
def prepared(call: Callable[..., Answer], tmp_path: Path) -> Callable[..., Path]:
    """Prepare a store."""

    def act(tiles: Path, *words: str) -> Path:
        store = tmp_path / f"store-{len(list(tmp_path.iterdir()))}"
        assert (
            call("prepare", "--domain", "pathology", tiles, "--out", store, *SET, *words).code == 0
        )
        return store

    return act


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
        (empty_sums, ["SHA256SUMS does not list model.safetensors"]),
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
    newer = ["is newer than this program reads (1)", "install a newer histoscope"]
    package = Path(shutil.copytree(road.package, tmp_path / "package"))
    edit(package / "package.json", version=2, more="what only a newer program knows")
    sign(package)
    says = (package / "package.json", "histoscope.package version 2", *newer)
    refused("predict", road.slides, "--package", package, says=says)
    refused("evaluate", package, road.store, says=says)

    other = Path(shutil.copytree(road.run, tmp_path / "run"))
    edit(other / "encoder.json", version=2)
    says = (other / "encoder.json", "histoscope.encoder version 2", *newer)
    refused("finetune", road.store, "--encoder", other, says=says)

    store = Path(shutil.copytree(road.store, tmp_path / "store"))
    table = read_table(store / "index.parquet", "histoscope.index", 1)
    write_table(store / "index.parquet", "histoscope.index", 2, table)
    says = (store / "index.parquet", "histoscope.index version 2", *newer)
    refused("pretrain", store, "--config", road.settings, says=says)
    edit(store / "store.json", version=2)
    says = (store / "store.json", "histoscope.store version 2", *newer)
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


# Folders that hold something else


def commands_with_out(road: Road) -> dict[str, tuple[object, ...]]:
    return {
        "prepare": ("prepare", "--domain", "pathology", road.tiles, *SET),
        "pretrain": ("pretrain", road.store, "--config", road.settings),
        "finetune": ("finetune", road.store, "--encoder", "colour", *FEW),
        "evaluate": ("evaluate", road.package, road.store),
        "predict": ("predict", road.slides, "--package", road.package, *HERE),
        "embed": ("embed", road.slides, "--package", road.package, *HERE),
    }


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
    refused(*words, "--default-mpp", "1", "--out", out, says=(out, "other options", "--out"))
    other = tmp_path / "other"
    assert run(["finetune", str(road.store), "--encoder", "colour", "--out", str(other)]) == 0
    words = ("predict", road.slides, "--package", other, *HERE, "--out", out)
    refused(*words, says=(out, "another package", "--out"))
    assert snapshot(out) == before
    assert call(*commands_with_out(road)["predict"], "--out", out).code == 0
    assert snapshot(out) == before


# Right use


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_names_every_option_with_its_meaning(call, name):
    answer = call(*filter(None, [name]), "--help")
    assert (answer.code, answer.err) == (0, "")
    with main.make_context("histoscope", [name or "doctor"]) as context:
        command = main.get_command(context, name) if name else main
    assert command is not None
    options = [one for one in command.get_params(context) if isinstance(one, click.Option)]
    assert options
    for option in options:
        assert option.opts[-1] in answer.out
        assert re.sub(r"\[default: .*\]", "", option.help or "").strip(), option.opts
    for argument in command.get_params(context):
        if isinstance(argument, click.Argument):
            assert argument.name.upper() in (command.help or "")


HELP = """
import json, sys
from histoscope.apps.cli import COMMANDS, run
heavy = set("torch torchvision timm openslide tifffile pyarrow sklearn cv2 matplotlib".split())
found = {}
for words in ([], *([name] for name in COMMANDS)):
    assert run([*words, "--help"]) == 0
    found[" ".join(words)] = sorted(heavy & set(sys.modules))
print(json.dumps(found), file=sys.stderr)
"""


def test_help_loads_neither_torch_nor_a_reader():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True)
    assert json.loads(done.stderr) == {"": [], **{name: [] for name in COMMANDS}}


def test_the_module_runs_as_a_program():
    words = [sys.executable, "-m", "histoscope", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"histoscope, version \d+\.\d+\.\d+\n", done.stdout)
    assert done.stderr == ""


def test_results_go_to_stdout_and_talk_to_stderr(road, call, tmp_path):
    words = commands_with_out(road)
    answer = call(*words["evaluate"], "--out", tmp_path / "evaluated")
    assert answer.code == 0
    assert "balanced accuracy" in answer.out
    assert answer.out.endswith(f"report: {tmp_path / 'evaluated' / 'report.html'}\n")
    assert "evaluate tissue reads the test split: 10 samples" in answer.err
    assert "balanced accuracy" not in answer.err
    answer = call(*words["predict"], "--out", tmp_path / "predicted")
    assert answer.out.startswith("16 samples of 1 sources predicted")
    assert answer.err == "work: 1 sources\n"


def test_a_dry_run_writes_nothing(road, call, tmp_path):
    out = tmp_path / "out"
    words = commands_with_out(road)
    before = {folder: snapshot(folder) for folder in (road.store, road.package)}
    plans = {
        "prepare": ["set-folders", f"1 sources; would write {out}"],
        "pretrain": ["encoder: resnet10t", "16 samples; 1.0 epochs", f"would write {out}"],
        "predict": ["one.tif", f"1 sources; would write {out}"],
    }
    for command, says in plans.items():
        answer = call(*words[command], "--out", out, "--dry-run")
        assert (answer.code, answer.err) == (0, "")
        assert all(word in answer.out for word in says)
        assert not out.exists()
    assert {folder: snapshot(folder) for folder in before} == before


def test_a_source_that_fails_gives_exit_code_1_and_a_row(road, call, tmp_path):
    slides = Path(shutil.copytree(road.slides, tmp_path / "slides"))
    (slides / "broken.svs").write_bytes(b"no slide")
    words = ("predict", slides, "--package", road.package, *HERE, "--out", tmp_path / "out")
    answer = call(*words)
    assert answer.code == 1
    assert "1 failed" in answer.out
    assert "broken.svs: failed: " in answer.err
    assert "broken.svs" in (tmp_path / "out" / "manifest.csv").read_text()


# Divergence, faults, interruption


@pytest.mark.parametrize(
    ("every", "steps_at_the_rate", "names"),
    [(1, 2, "step-000001"), (100, 1, None)],
    ids=["with a good checkpoint", "without"],
)
def test_a_run_that_diverges_names_the_last_good_checkpoint(
    road, call, tmp_path, monkeypatch, every, steps_at_the_rate, names
):
    def rate(step: int, *rest: object) -> float:
        return 1e30 if step + 1 == steps_at_the_rate else 1e-3

    monkeypatch.setattr("histoscope.core.training.pretrain.rate_at", rate)
    out = tmp_path / "run"
    more = ("--steps", "6", "--checkpoint-every", every, "--out", out)
    answer = call("pretrain", road.store, "--config", road.settings, *more)
    assert answer.code == 5
    last = answer.err.splitlines()[-1]
    assert last.startswith(f"histoscope: step {steps_at_the_rate + 1}: the loss is not finite")
    if names:
        assert f"the last good checkpoint is {out / 'checkpoints' / names};" in last
        assert (out / "checkpoints" / names / "checkpoint.json").is_file()
    else:
        assert "there is no good checkpoint" in last
    assert "--set training.optimiser.learning_rate" in last
    assert not (out / "encoder.json").exists()


def test_a_rate_beyond_reason_diverges(road, call, tmp_path):
    more = ("--set", "training.optimiser.learning_rate=1e30", "--steps", "6")
    words = ("--config", road.settings, *more, "--out", tmp_path / "run")
    answer = call("pretrain", road.store, *words)
    assert answer.code == 5
    assert "the loss is not finite" in answer.err.splitlines()[-1]


def test_a_fault_of_ours_names_a_log(road, call, tmp_path, monkeypatch):
    def broken(*words: object, **more: object) -> None:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr("histoscope.core.data.prepare.prepare", broken)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    answer = call(*commands_with_out(road)["prepare"], "--out", tmp_path / "out")
    assert answer.code == 4
    (line,) = answer.err.splitlines()
    assert line.startswith("histoscope: a fault of ours (ZeroDivisionError: two lines)")
    log = Path(line.rpartition(" ")[2])
    assert log.parent == tmp_path
    assert "Traceback" in log.read_text()
    assert not (tmp_path / "out").exists()


def test_what_the_machine_refuses_is_no_fault_of_ours(road, call, tmp_path, monkeypatch):
    def full(*words: object, **more: object) -> None:
        raise OSError(28, "No space left on device", "/there")

    monkeypatch.setattr("histoscope.core.data.prepare.prepare", full)
    answer = call(*commands_with_out(road)["prepare"], "--out", tmp_path / "out")
    assert (answer.code, answer.err) == (2, "histoscope: /there: No space left on device\n")


def test_a_name_with_a_line_break_still_gives_one_line(refused, tmp_path):
    refused(
        "prepare", "--domain", "pathology", tmp_path / "a\nb", says=["a b: no such file or folder"]
    )


def parts(folder: Path) -> list[Path]:
    return list(folder.rglob("*.part"))


def interrupt(words: tuple[object, ...], out: Path, sign: str) -> str:
    """Start a program, send what Ctrl-C sends once ``sign`` is there; its last line."""
    program = subprocess.Popen(
        [sys.executable, "-m", "histoscope", *map(str, words), "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while program.poll() is None and not list(out.glob(sign)):
        time.sleep(0.005)
    os.killpg(program.pid, signal.SIGINT)
    said, talk = program.communicate(timeout=60)
    assert program.returncode == 3, talk
    assert said == ""
    assert parts(out) == []
    last = talk.splitlines()[-1]
    assert last.startswith("histoscope: interrupted; ")
    assert last.endswith("; the same command goes on")
    assert "Traceback" not in talk
    return last


def test_pretraining_goes_on_after_an_interruption(road, call, tmp_path):
    out = tmp_path / "run"
    words = ("pretrain", road.store, "--config", road.settings, "--steps", "24")
    words = (*words, "--checkpoint-every", "100")
    last = interrupt(words, out, "metrics.csv")
    done = int(re.search(r"step (\d+) of 24 is saved", last).group(1))
    assert (out / "checkpoints" / f"step-{done:06d}" / "checkpoint.json").is_file()
    answer = call(*words, "--out", out)
    assert answer.code == 0
    assert f"resumes after step {done}" in answer.err
    steps = (out / "metrics.csv").read_text().splitlines()[1:]
    assert [int(line.partition(",")[0]) for line in steps] == list(range(1, 25))


@pytest.mark.slow
@pytest.mark.parametrize("sign", ["config.yaml", "metrics.csv"])
def test_pretraining_with_workers_goes_on_after_an_interruption(road, call, tmp_path, sign):
    out = tmp_path / "run"
    words = ("pretrain", road.store, "--config", road.settings, "--steps", "24", "--workers", "1")
    interrupt(words, out, sign)
    assert call(*words, "--out", out).code == 0


def test_prediction_goes_on_after_an_interruption(road, call, tmp_path):
    slides, out = tmp_path / "slides", tmp_path / "out"
    slides.mkdir()
    for number in range(12):  # another name is another source
        shutil.copy(road.slides / "one.tif", slides / f"{number}.tif")
    words = ("predict", slides, "--package", road.package, *HERE)
    last = interrupt(words, out, "outcomes/*.json")
    done = int(re.search(r"(\d+) of 12 sources are finished", last).group(1))
    assert not (out / "report.html").exists()
    answer = call(*words, "--out", out)
    assert answer.code == 0
    assert f"{done} of 12 sources are done already" in answer.err
    assert "192 samples of 12 sources predicted" in answer.out


def test_preparing_in_another_process_goes_on_after_an_interruption(road, call, tmp_path):
    slides, out = tmp_path / "slides", tmp_path / "store"
    slides.mkdir()
    write_slide(slides / "large.tif", np.full((2048, 2048, 3), COLOURS["tumour"], np.uint8))
    shutil.copy(road.slides / "one.tif", slides)
    words = (
        "prepare",
        "--domain",
        "pathology",
        slides,
        "--size-px",
        "16",
        "--min-tissue",
        "0",
        "--encoding",
        "lossless",
    )
    last = interrupt((*words, "--workers", "1"), out, "shards/*.part")  # 16384 tiles: a second
    assert re.search(r"[01] of 2 sources are finished", last)
    assert not (out / "store.json").exists()
    answer = call(*words, *HERE, "--out", out)
    assert answer.code == 0
    assert "from 2 sources; 0 empty, 0 failed" in answer.out
