"""A checkpoint from elsewhere becomes an encoder that every command takes which has a store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from histoscope.apps.cli import run
from tests.apps.command_line.road import COLOURS, FEW, HERE, SMALL, paint, write_slide

VIT = "timm:vit_tiny_patch16_224"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 64 px, a checkpoint of a transformer of 224 px, and what is made of it."""
    base = tmp_path_factory.mktemp("imported")
    for place, (part, count) in enumerate([("train", 8), ("test", 3)]):
        for kind in COLOURS:
            folder = base / "tiles" / part / kind
            folder.mkdir(parents=True)
            for seed in range(count):
                tile = paint(kind, 64, 100 * place + seed)
                Image.fromarray(tile).save(folder / f"{kind}{seed}.png")
    cut = ("--mpp", "0.5", "--tile-mpp", "0.5", "--size-px", "64", *HERE)
    words = ("prepare", "--domain", "pathology", base / "tiles", "--out", base / "store", *cut)
    assert run([str(word) for word in words]) == 0
    with torch.random.fork_rng():
        torch.manual_seed(1)
        state = timm.create_model("vit_tiny_patch16_224", num_classes=10).state_dict()
    state = {f"module.backbone.{name}": value for name, value in state.items()}
    save_file(state, base / "vit.safetensors")
    words = ("import-weights", base / "vit.safetensors", "--architecture", VIT)
    assert run([str(word) for word in (*words, "--out", base / "vit")]) == 0
    return base


def test_what_was_done_is_said(base, call, tmp_path):
    file = base / "vit.safetensors"
    words = ("import-weights", file, "--architecture", VIT, "--note", "CC-BY")
    answer = call(*words, "--mean", 0.5, "--std", "0.2,0.3,0.4", "--out", tmp_path / "out")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines() == [
        "matched: 150 of 150 tensors, 5,524,416 of 5,524,416 parameters, below 'module.backbone'",
        "left over in the file: module.backbone.head.bias, module.backbone.head.weight",
        "missing in the file: nothing",
        "normalisation: mean 0.5, 0.5, 0.5; deviation 0.2, 0.3, 0.4 (as given)",
        f"{tmp_path / 'out'}: {VIT}, 192 features; for --encoder and --init",
    ]
    body = json.loads((tmp_path / "out" / "encoder.json").read_text())
    assert body["provenance"]["note"] == "CC-BY"
    assert (body["domain"], body["sampling"]) == ("", {})


def test_a_package_of_imported_weights_predicts(base, call, tmp_path):
    package, store = tmp_path / "package", base / "store"
    answer = call("finetune", store, "--encoder", base / "vit", "--out", package, *FEW)
    assert answer.code == 0, answer
    assert "weights from elsewhere, of no scale; they take 64 px at mpp 0.5" in answer.err
    assert "made for 224 px: positions are resampled, all else is unchanged" in answer.err
    assert "is made for images of 224 px, and may tell much less of smaller ones" in answer.err
    encoder = json.loads((package / "package.json").read_text())["encoder"]
    assert encoder["network"]["input_px"] == 64
    assert encoder["domain"] == "pathology"
    assert encoder["sampling"]["tile_mpp"] == 0.5
    assert encoder["provenance"]["resampled_from_px"] == 224
    inside = load_file(package / "model.safetensors")
    outside = load_file(base / "vit" / "encoder.safetensors")
    for name, value in outside.items():
        same = inside[f"encoder.0.{name}"].equal(value)
        assert same != name.endswith("pos_embed")
    assert call("evaluate", package, store, "--out", tmp_path / "evaluated").code == 0
    (tmp_path / "new").mkdir()
    write_slide(tmp_path / "new" / "one.tif", paint("tumour", 128, 7))
    by = ("--package", package, *HERE, "--out", tmp_path / "results")
    answer = call("predict", tmp_path / "new", *by)
    assert answer.code == 0, answer
    assert "4 samples of 1 sources predicted" in answer.out


def test_pretraining_starts_from_imported_weights(base, call, tmp_path):
    (tmp_path / "small.yaml").write_text(SMALL.replace("encoder: test_resnet", "encoder: resnet18"))
    words = ("pretrain", base / "store", "--config", tmp_path / "small.yaml")
    answer = call(*words, "--init", base / "vit", "--out", tmp_path / "run")
    assert answer.code == 0, answer
    assert answer.err.count("weights from elsewhere") == 1
    said = f"the network is vit_tiny_patch16_224 as of --init {base / 'vit'}, not resnet18"
    assert said in answer.err
    body = json.loads((tmp_path / "run" / "encoder.json").read_text())
    assert body["network"] == {
        **{"kind": "timm", "name": "vit_tiny_patch16_224"},
        **{"input_px": 64, "pool": None, "patch_px": None},
    }
    assert body["provenance"]["init"].startswith("weights ")
    assert body["domain"] == "pathology"


def test_suggestions_come_from_imported_weights(base, call, tmp_path):
    asked = ("--encoder", base / "vit", "--count", 3, "--task", "mine", "--classes", "a,b")
    answer = call("suggest", base / "store", *asked, "--out", tmp_path / "out")
    assert answer.code == 0, answer
    assert "weights from elsewhere" in answer.err


def test_embed_refuses_weights_that_know_no_scale(base, refused):
    refused("embed", base / "tiles", "--encoder", base / "vit", says=["its weights are from else"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["absent.pth", "--architecture", VIT], ["absent.pth: no such file"]),
        ([".", "--architecture", VIT], [".: not a file; give the checkpoint itself"]),
        (["FILE"], ["Missing option '--architecture'", "import-weights --help"]),
        (["FILE", "--architecture", "timm:resnet18"], ["nothing in it fits timm:resnet18"]),
        (["FILE", "--architecture", VIT, "--key", "studnt"], ["nothing is called 'studnt' there"]),
        (["FILE", "--architecture", VIT, "--mean", "1,2", "--std", "1"], ["'1,2' is neither"]),
        (["FILE", "--architecture", VIT, "--mean", "nan", "--std", "1"], ["'nan' is neither"]),
        (["FILE", "--architecture", VIT, "--mean", "1"], ["give both --mean and --std"]),
        (["FILE", "--architecture", VIT, "--mean", "1", "--std", "0"], ["--std: must be greater"]),
        (["FILE", "--architecture", VIT, "--input-px", "64"], ["pos_embed", "give --input-px 224"]),
    ],
    ids=lambda words: " ".join(words),
)
def test_what_cannot_be_imported_is_refused(base, refused, words, says):
    file = base / "vit.safetensors"
    refused("import-weights", *(file if word == "FILE" else word for word in words), says=says)


def test_a_checkpoint_that_runs_code_is_refused_and_runs_none(refused, tmp_path):
    class Trap:
        def __reduce__(self):
            return open, (str(tmp_path / "made"), "w")

    torch.save({"state_dict": {"a": torch.ones(2)}, "b": Trap()}, tmp_path / "a.pth")
    words = ("import-weights", tmp_path / "a.pth", "--architecture", "timm:resnet18")
    refused(*words, says=["would run code", "nothing was run", "save the state_dict alone"])
    assert not (tmp_path / "made").exists()
