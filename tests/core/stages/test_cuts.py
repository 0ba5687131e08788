"""A probe of the best layer, chosen inside each draw; its package does all that others do."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn.functional import batch_norm, linear, relu

from histoscope.core.config import build
from histoscope.core.data.store import Store
from histoscope.core.encoders.contract import USUAL
from histoscope.core.encoders.folder import save_encoder
from histoscope.core.encoders.layers import places_of
from histoscope.core.encoders.making import random_encoder
from histoscope.core.encoders.timm import TimmSpec
from histoscope.core.errors import DataError, UsageError
from histoscope.core.heads.contract import Bags
from histoscope.core.heads.layer import LayerHead
from histoscope.core.inference.features import features_of
from histoscope.core.inference.runner import Runner
from histoscope.core.learning.spec import FinetuneSpec, ProbeSpec
from histoscope.core.objectives.contract import Objective
from histoscope.core.objectives.simclr import SimCLR
from histoscope.core.packages.package import open_package
from histoscope.core.progress import Silent
from histoscope.core.runtime.device import AUTO
from histoscope.core.stages.cuts import cut_encoder
from histoscope.core.stages.encoders import info_of, open_encoder, open_folder
from histoscope.core.stages.evaluate import evaluate
from histoscope.core.stages.finetune import finetune
from histoscope.core.stages.folds import cross_validate
from histoscope.core.stages.predict import predict
from histoscope.core.stages.prepare import prepare
from histoscope.core.stages.pretrain import pretrain
from histoscope.core.tensors import load_tensors
from histoscope.core.training.spec import PretrainSpec
from histoscope.core.work.local import Local
from tests.made import prepared_by_case

BEFORE = ["act1", "layer1", "layer2", "layer3", USUAL]


class Heard(Silent):
    """Keeps what was said."""

    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


@pytest.fixture
def spoilt(toy_store, tmp_path):
    """An encoder whose last stage gives the same of every image."""
    encoder = random_encoder(TimmSpec(name="test_resnet"), 16, 0)
    with torch.no_grad():
        for name, value in encoder.network.layer4.named_parameters():
            value.zero_() if "bn" in name or "downsample" in name else None
    folder = tmp_path / "spoilt"
    info = info_of(encoder, toy_store, {"kind": "made"})
    save_encoder(folder, encoder, info, frozenset())
    rows = encoder.eval()(torch.rand(4, 3, 16, 16))
    assert (rows == rows[0]).all()
    return folder


@pytest.fixture
def run(toy, toy_store, tmp_path, monkeypatch):
    """Pretrain for a step; returns the run's folder."""
    monkeypatch.setattr("histoscope.core.stages.pretrain.draw_journal", lambda folder: None)

    def made(objective="simclr", encoder="test_resnet", **more):
        training = {"steps": 1, "batch_size": 16, "threads": 1, "workers": 0}
        body = {"base": objective, **more}
        spec = build(
            PretrainSpec, {"encoder": encoder, "objective": body, "training": training}, "test"
        )
        out = tmp_path / f"run-of-{objective}"
        pretrain(toy_store, toy.DOMAIN, spec, out, progress=Silent())
        return out

    return made


def learn(store, encoder, out, **more):
    spec = ProbeSpec(**{"fraction": 0.5, "draws": 2, "cut": "choose", **more})
    return finetune(store, str(encoder), spec, out, progress=Silent())


def layers(store, word, cut="choose"):
    """The encoder of a cut, and its layers' features of the store by name."""
    loaded = cut_encoder(open_encoder(str(word), store, 0), str(word), cut, store, Silent())
    rows = np.arange(len(store.index))
    features = features_of(Runner(loaded.module, torch.device("cpu")), store, rows, Silent())
    return {name: features[:, place] for name, place in places_of(loaded.info.network).items()}


def test_the_usual_cut_is_todays_probe_bit_for_bit(toy_store, tmp_path):
    usual = finetune(
        toy_store,
        "random:test_resnet",
        ProbeSpec(fraction=0.5, draws=2),
        tmp_path / "usual",
        progress=Silent(),
    )
    learn(toy_store, "random:test_resnet", tmp_path / "said", cut="usual")
    for name in ("model.safetensors", "package.json", "draws.parquet", "MODEL_CARD.md"):
        assert (tmp_path / "usual" / name).read_bytes() == (tmp_path / "said" / name).read_bytes()
    assert usual.info.encoder.network == TimmSpec(name="test_resnet")
    assert "cut" not in ProbeSpec().model_dump()


def test_where_the_last_stage_spoils_all_an_inner_one_is_chosen_in_each_draw(
    toy_store, spoilt, tmp_path
):
    chosen = learn(toy_store, spoilt, tmp_path / "chosen", draws=3)
    cuts = [one["cut"] for one in chosen.info.heads[0].settings]
    assert set(cuts) <= set(BEFORE[:4])
    assert chosen.info.heads[0].kind == "layer"
    usual = learn(toy_store, spoilt, tmp_path / "usual", draws=3, cut="usual")
    found, before = (
        evaluate(one, toy_store, tmp_path / f"e-{place}", progress=Silent())["tasks"]["hue"]
        for place, one in enumerate((chosen, usual))
    )
    assert before["balanced_accuracy"]["value"] == 0.5
    assert found["balanced_accuracy"]["value"] > 0.9
    assert found["drawn"] == before["drawn"]


def test_a_named_layer_is_read_by_every_draw(toy_store, spoilt, tmp_path):
    package = learn(toy_store, spoilt, tmp_path / "p", cut="layer2")
    assert [one["cut"] for one in package.info.heads[0].settings] == ["layer2", "layer2"]
    assert [one.name for one in package.info.encoder.network.layers] == ["layer2"]
    assert package.info.encoder.dim == 48
    evaluate(package, toy_store, tmp_path / "e", progress=Silent())


def test_it_predicts_from_what_the_first_draw_reads_alone(toy, toy_store, spoilt, tmp_path):
    package = learn(toy_store, spoilt, tmp_path / "p", draws=3)
    assert [one.name for one in package.info.encoder.network.layers] == BEFORE
    encoder, (head,) = package.first_draw()
    (read,) = encoder.info.network.layers
    assert read.name == package.info.heads[0].settings[0]["cut"]
    assert (head.start, head.stop) == (0, read.width)
    new = tmp_path / "new"
    new.mkdir()
    toy.write_stack(new / "a-good.npy", 30, 7, 3)
    roots, options, out = {"input": new}, toy.ToyOptions(), tmp_path / "out"
    (outcome,) = predict(package.folder, roots, options, out, engine=Local(0), progress=Silent())
    assert (outcome.status, outcome.samples, outcome.corrupt) == ("done", 27, 3)
    table = pq.read_table(out / "results" / outcome.source.id / "predictions.parquet")
    told = table.column("p:hue:green").to_numpy(zero_copy_only=False)
    prepare(
        toy.DOMAIN,
        roots,
        toy.ToySampling(),
        options,
        tmp_path / "store-of-new",
        encoding="lossless",
        engine=Local(0),
        progress=Silent(),
    )
    store = Store(tmp_path / "store-of-new")
    good = np.flatnonzero(store.index.column("shard").is_valid().to_numpy())
    whole = package.encoder()
    features = features_of(Runner.of(whole, AUTO), store, good, Silent())
    expected = package.head(0).probabilities(Bags.of_samples(features))[:, 1]
    assert told[~np.isnan(told)] == pytest.approx(expected, abs=1e-6)


def test_the_head_of_a_run_is_probed_layer_by_layer(toy_store, run):
    folder = run()
    found = layers(toy_store, folder)
    assert list(found) == [*BEFORE, "head.1", "head.2"]
    kept = {
        name.removeprefix("projector."): value
        for name, value in load_tensors(folder / "objective.safetensors").items()
    }
    rows = torch.from_numpy(found[USUAL])

    def normed(rows, at):
        means = [kept[f"{at}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
        return batch_norm(rows, *means)

    hidden = relu(normed(linear(rows, kept["0.weight"]), 1))
    last = normed(linear(hidden, kept["3.weight"]), 4)
    assert np.allclose(found["head.1"], hidden.numpy(), atol=1e-5)
    assert np.allclose(found["head.2"], last.numpy(), atol=1e-5)
    assert np.array_equal(layers(toy_store, folder, "head.1")["head.1"], found["head.1"])


@pytest.mark.parametrize(
    ("base", "more", "count"),
    [
        ("dino", {"prototypes": 16}, 3),
        ("msf", {"neighbours": {"rows": 16}}, 2),
        ("byol", {"mixing": "unmix"}, 2),
    ],
)
def test_heads_of_slow_copies_and_of_mixed_methods_are_found(toy_store, run, base, more, count):
    found = layers(toy_store, run(base, **more))
    assert list(found) == [*BEFORE, *(f"head.{at + 1}" for at in range(count))]


def test_of_a_method_that_does_not_tell_its_head_the_blocks_are_probed(toy_store, run, monkeypatch):
    folder = run()
    monkeypatch.setattr(SimCLR, "head_of", Objective.head_of)
    assert list(layers(toy_store, folder)) == BEFORE


def test_a_package_keeps_the_head_and_gives_the_network_alone_to_others(toy_store, run, tmp_path):
    folder = run()
    package = learn(toy_store, folder, tmp_path / "p")
    alone, before = open_folder(package.folder), open_folder(folder)
    assert alone.info == before.info
    assert alone.digest == before.digest
    assert alone.seen == package.seen >= before.seen
    again = learn(toy_store, package.folder, tmp_path / "again")
    assert again.digest == package.digest
    usual = learn(toy_store, package.folder, tmp_path / "usual", cut="usual")
    assert usual.info.heads[0].kind == "linear"
    assert usual.info.encoder.dim == before.info.dim


def test_it_is_scored_by_folds(toy, tmp_path, spoilt):
    folder = tmp_path / "cases"
    folder.mkdir()
    for seed in range(6):
        toy.write_stack(folder / f"c{seed}-x.npy", 10, seed)
    store = prepared_by_case(toy, folder, tmp_path / "of-cases")
    spec = ProbeSpec(fraction=0.5, draws=1, cut="choose")
    body, info = cross_validate(store, str(spoilt), spec, 3, tmp_path / "cv", progress=Silent())
    assert body["tasks"]["hue"]["balanced_accuracy"]["value"] > 0.9
    (settings,) = info.heads[0].settings
    assert settings["cut"] in BEFORE[:4]
    assert settings["held_out"] == "cases"


def test_look_alikes_are_sought_by_the_usual_output(toy_store, spoilt, tmp_path, monkeypatch):
    package = learn(toy_store, "random:test_resnet", tmp_path / "p", draws=1)
    widths = []

    def kept(store, rows, ours, others, theirs):
        widths.append((ours.shape[1], theirs.shape[1]))
        return rows[:0]

    monkeypatch.setattr("histoscope.core.stages.leakage.look_alikes", kept)
    evaluate(package, toy_store, tmp_path / "e", progress=Silent())
    assert widths == [(96, 96)]


def test_what_is_chosen_among_is_said_and_stands_in_the_package(toy_store, spoilt, tmp_path):
    heard = Heard()
    spec = ProbeSpec(fraction=0.5, draws=1, cut="choose")
    finetune(toy_store, str(spoilt), spec, tmp_path / "p", progress=heard)
    assert f"--cut choose: each draw chooses among {', '.join(BEFORE)}" in heard.lines
    body = json.loads((tmp_path / "p" / "package.json").read_text())
    assert body["encoder"]["architecture"] == "timm:test_resnet"
    assert body["encoder"]["network"]["kind"] == "layers"
    assert body["heads"][0]["settings"][0]["cut"] in BEFORE
    assert isinstance(open_package(tmp_path / "p").head(0), LayerHead)


@pytest.mark.parametrize("cut", ["choose", "layer2"])
@pytest.mark.parametrize("method", ["knn", "uni", "swav"])
def test_other_methods_refuse_a_cut_in_one_line(toy_store, tmp_path, method, cut):
    spec = build(FinetuneSpec, {"method": method, "cut": cut}, "test")
    said = f"--cut {cut}: is of --method probe, full and probe_full; {method} reads"
    with pytest.raises(UsageError, match=said):
        finetune(toy_store, "random:test_resnet", spec, tmp_path / "p", progress=Silent())
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    ("word", "cut", "said"),
    [
        ("colour", "choose", "--cut choose: encoder colour: has no blocks that can be probed"),
        (
            "random:test_resnet",
            "layer5",
            r"has no such layer, did you mean 'layer.'\?; it has act1",
        ),
        ("random:test_resnet", "head.1", "has no such layer.*; it has act1, .*, usual; a probe"),
    ],
)
def test_a_layer_that_is_not_there_is_refused_in_one_line(toy_store, tmp_path, word, cut, said):
    with pytest.raises(UsageError, match=said) as fault:
        learn(toy_store, word, tmp_path / "p", cut=cut)
    assert "\n" not in str(fault.value)
    assert not (tmp_path / "p").exists()


def test_a_run_with_another_head_than_its_settings_say_is_refused(toy_store, run, tmp_path):
    folder = run()
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("hidden: 512", "hidden: 64"))
    with pytest.raises(DataError, match=r"objective.safetensors: its weights do not fit"):
        learn(toy_store, folder, tmp_path / "p")
