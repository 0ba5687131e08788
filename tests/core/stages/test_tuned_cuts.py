"""Weights are trained up to a layer of the projection head of a run (SimCLRv2)."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn.functional import batch_norm, linear, relu, softmax

from histoscope.core.config import build
from histoscope.core.encoders.contract import USUAL
from histoscope.core.encoders.layers import LayersEncoder, layered, only
from histoscope.core.encoders.making import random_encoder
from histoscope.core.encoders.pixels import to_unit
from histoscope.core.encoders.timm import TimmSpec
from histoscope.core.errors import UsageError
from histoscope.core.heads.contract import unit_rows
from histoscope.core.learning.full import Tuning, fine_tune, new_head
from histoscope.core.learning.spec import FinetuneSpec, FullSpec, StepsSpec
from histoscope.core.objectives.heads import projector
from histoscope.core.objectives.spec import ProjectorSpec
from histoscope.core.packages.package import open_package
from histoscope.core.progress import Silent
from histoscope.core.stages.cuts import cut_encoder
from histoscope.core.stages.encoders import LoadedEncoder, info_of, open_encoder, open_folder
from histoscope.core.stages.evaluate import evaluate
from histoscope.core.stages.finetune import finetune
from histoscope.core.stages.folds import cross_validate
from histoscope.core.stages.predict import predict
from histoscope.core.stages.pretrain import pretrain
from histoscope.core.training.spec import PretrainSpec
from histoscope.core.work.local import Local
from tests.made import prepared_by_case, truth

METHODS = ["full", "probe_full"]
AFTER = {"head.2": (), "head.1": ("head.1.",)}  # what of the encoder stands behind a layer


@pytest.fixture
def run(toy, toy_store, tmp_path, monkeypatch):
    """The folder of a run of one step."""
    monkeypatch.setattr("histoscope.core.stages.pretrain.draw_journal", lambda folder: None)
    training = {"steps": 1, "batch_size": 16, "threads": 1, "workers": 0}
    body = {"encoder": "test_resnet", "objective": {"base": "simclr"}, "training": training}
    spec = build(PretrainSpec, body, "test")
    pretrain(toy_store, toy.DOMAIN, spec, tmp_path / "run", progress=Silent())
    return tmp_path / "run"


def learn(store, encoder, out, method="full", steps=3, **more):
    body = {"method": method, "fraction": 0.5, "draws": 2, "full": {"steps": steps}, **more}
    spec = build(FinetuneSpec, body, "test")
    return finetune(store, str(encoder), spec, out, progress=Silent())


def behind(name, cut):
    return name.startswith(AFTER[cut])


@pytest.fixture
def made(toy_store):
    """A network and a head behind it, all layers given."""
    encoder = random_encoder(TimmSpec(name="test_resnet"), 16, 0).eval()
    for name, value in encoder.named_parameters():
        if "bn3.weight" in name or "bn2.weight" in name:  # new blocks end in a weight of 0
            value.data.fill_(1)
    loaded = LoadedEncoder(encoder, info_of(encoder, toy_store, {}), frozenset())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return layered(loaded, projector(encoder.dim, ProjectorSpec(hidden=32, out=8)), 16)


@pytest.mark.parametrize("method", METHODS)
def test_the_usual_cut_is_as_it_was_bit_for_bit(toy_store, run, tmp_path, method):
    before = learn(toy_store, run, tmp_path / "before", method)
    learn(toy_store, run, tmp_path / "said", method, cut="usual")
    for name in ("model.safetensors", "package.json", "draws.parquet", "MODEL_CARD.md"):
        assert (tmp_path / "before" / name).read_bytes() == (tmp_path / "said" / name).read_bytes()
    assert before.info.encoder.network == TimmSpec(name="test_resnet")
    assert all("cut" not in one for one in before.info.heads[0].settings)


def test_the_usual_output_among_layers_is_trained_as_the_network_alone(made):
    """A layer is what it says: where it is the network's output all weights end the same."""
    rng, labels = np.random.default_rng(0), truth([0, 1] * 6, None, "sample")
    images = rng.integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    ends = []
    alone = LoadedEncoder(made.encoder.inner, made.info, frozenset())
    for loaded in (alone, only(made, [USUAL])):
        head = new_head(labels, loaded.module.dim)
        spec = StepsSpec(steps=3, batch_size=8)
        module, (tuned,) = fine_tune(
            loaded, torch.device("cpu"), images, [labels], [head], spec, 0, 0
        )
        ends.append((getattr(module, "inner", module).state_dict(), tuned))
    assert all(torch.equal(value, ends[1][0][name]) for name, value in ends[0][0].items())
    assert np.array_equal(ends[0][1].weight, ends[1][1].weight)


@pytest.mark.parametrize("cut", AFTER)
def test_the_gradient_reaches_all_up_to_the_cut_and_nothing_behind(made, cut):
    loaded, labels = only(made, [cut]), truth([0, 1] * 8, None, "sample")
    head = new_head(labels, loaded.info.dim)
    head.weight[:] = np.random.default_rng(0).normal(size=head.weight.shape)
    tuning = Tuning(loaded, torch.device("cpu"), [labels], [head], StepsSpec())
    images = torch.randint(0, 256, (16, 16, 16, 3), dtype=torch.uint8)
    tuning.loss(images, np.arange(16)).backward()
    for name, parameter in tuning.encoder.named_parameters():
        if behind(name, cut):
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.any(), name
    assert all(one.grad is None for one in loaded.module.parameters())


@pytest.mark.parametrize("cut", AFTER)
@pytest.mark.parametrize("method", METHODS)
def test_weights_behind_the_cut_stay_as_they_were(toy_store, run, tmp_path, method, cut):
    package = learn(toy_store, run, tmp_path / "p", method, cut=cut, full={"weight_decay": 0.5})
    assert [one["cut"] for one in package.info.heads[0].settings] == [cut, cut]
    opened = open_encoder(str(run), toy_store, 0)
    before = cut_encoder(opened, str(run), cut, toy_store, Silent()).module.state_dict()
    for draw in range(2):
        after = package.encoder(draw).module.state_dict()
        assert after.keys() == before.keys()
        for name, value in after.items():
            told = "running" in name or "num_batches" in name  # few images tell no statistics
            assert torch.equal(value, before[name]) == (told or behind(name, cut)), name


@pytest.mark.parametrize("method", METHODS)
def test_it_predicts_what_the_trained_head_says(toy, toy_store, run, tmp_path, method):
    """Network, linear layer, batch norm, ReLU and the new head, by hand."""
    package = learn(toy_store, run, tmp_path / "p", method, cut="head.1", steps=20)
    new = tmp_path / "new"
    new.mkdir()
    toy.write_stack(new / "a-good.npy", 30, 7, 3)
    roots, options, out = {"input": new}, toy.ToyOptions(), tmp_path / "out"
    (outcome,) = predict(package.folder, roots, options, out, engine=Local(0), progress=Silent())
    table = pq.read_table(out / "results" / outcome.source.id / "predictions.parquet")
    told = table.column("p:hue:green").to_numpy(zero_copy_only=False)
    images = np.load(new / "a-good.npy")
    encoder, head = package.encoder(), package.head(0)
    kept, inner = encoder.module.state_dict(), open_folder(package.folder).module
    assert isinstance(encoder.encoder, LayersEncoder)
    good = ~np.isnan(told)
    with torch.no_grad():
        rows = inner(to_unit(torch.from_numpy(images[good])))
        rows = linear(rows, kept["head.0.0.weight"], kept.get("head.0.0.bias"))
        means = ("running_mean", "running_var", "weight", "bias")
        rows = relu(batch_norm(rows, *(kept[f"head.0.1.{name}"] for name in means)))
        if head.centre is not None:
            rows = unit_rows(rows, torch.from_numpy(head.centre))
        logits = linear(rows, torch.from_numpy(head.weight), torch.from_numpy(head.bias))
    assert (head.centre is None) == (method == "full")
    assert told[good] == pytest.approx(softmax(logits, 1)[:, 1].numpy(), abs=1e-5)


def test_it_learns_is_scored_and_gives_others_its_network(toy_store, run, tmp_path):
    package = learn(toy_store, run, tmp_path / "p", cut="head.1", steps=40)
    found = evaluate(package, toy_store, tmp_path / "e", progress=Silent())["tasks"]["hue"]
    assert found["balanced_accuracy"]["value"] > 0.8
    assert open_folder(package.folder).info.network == TimmSpec(name="test_resnet")
    again = learn(toy_store, package.folder, tmp_path / "again", cut="head.2", steps=1)
    assert [one.name for one in again.info.encoder.network.layers] == ["head.2"]
    assert open_package(again.folder).info == again.info


def test_it_is_scored_by_folds(toy, run, tmp_path):
    folder = tmp_path / "cases"
    folder.mkdir()
    for seed in range(4):
        toy.write_stack(folder / f"c{seed}-x.npy", 10, seed)
    spec = FullSpec(cut="head.1", fraction=1.0, draws=1, full=StepsSpec(steps=40))
    store, out = prepared_by_case(toy, folder, tmp_path / "of-cases"), tmp_path / "cv"
    body, info = cross_validate(store, str(run), spec, 2, out, progress=Silent())
    assert info.heads[0].settings == [{"cut": "head.1"}]
    assert body["tasks"]["hue"]["balanced_accuracy"]["value"] > 0.8


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("cut", "said"),
    [
        ("choose", "--cut choose: is of --method probe; {} takes usual or, of a run, a layer of"),
        ("layer2", "--cut layer2: is of --method probe; {} takes .* by its name, as head.1"),
        ("head.3", "has no such layer, did you mean 'head.2'.; it has act1, .*, head.2; a probe"),
    ],
)
def test_what_cannot_be_cut_is_refused_in_one_line(toy_store, run, tmp_path, method, cut, said):
    with pytest.raises(UsageError, match=said.format(method)) as fault:
        learn(toy_store, run, tmp_path / "p", method, cut=cut)
    assert len(str(fault.value).splitlines()) == 1
    assert not (tmp_path / "p").exists()
