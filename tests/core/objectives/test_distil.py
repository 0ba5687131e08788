"""SimCLRv2's distillation: cross-entropy with what a package answers of each image."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from histoscope.core.config import build
from histoscope.core.data.selection import select
from histoscope.core.data.store import Store
from histoscope.core.data.units import read_seen
from histoscope.core.encoders.folder import load_encoder
from histoscope.core.encoders.pixels import to_unit
from histoscope.core.errors import ConfigError, DataError, UsageError
from histoscope.core.heads.contract import Bags
from histoscope.core.objectives.contract import Clock, Rows
from histoscope.core.objectives.mixed import KIND, SHARE
from histoscope.core.objectives.spec import MethodSpec
from histoscope.core.packages.package import open_package
from histoscope.core.progress import Silent
from histoscope.core.stages.prepare import prepare
from histoscope.core.stages.pretrain import pretrain
from histoscope.core.tensors import load_tensors
from histoscope.core.testing.objectives import BATCH, SAMPLES, Rehearsal, check_objective
from histoscope.core.training.spec import PretrainSpec
from histoscope.core.work.local import Local
from tests.made import write_model

TAUGHT = {"teacher": "package"}


def ready_of(steps=2, **more):
    ready = Rehearsal("distil", {**TAUGHT, **more})
    for number in range(steps):
        ready.step(number)
    return ready


def softmax(row, temperature):
    powers = [math.exp(x / temperature) for x in row]
    return [power / sum(powers) for power in powers]


def crossed(taught, logits, temperature):
    told = softmax(logits.tolist(), temperature)
    return -sum(p * math.log(q) for p, q in zip(taught, told, strict=True))


class Held:
    """A data set of some images."""

    def __init__(self, images):
        self.images, self.asked = images, 0

    def encode(self, module):
        self.asked += 1
        with torch.no_grad():
            return module(self.images)


def images_of():
    return torch.rand(SAMPLES, 3, 16, 16, generator=torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize("temperature", [0.2, 1.0, 4.0])
def test_it_is_its_formula(temperature):
    """Of the teacher's logits, which the objective never sees."""
    ready = ready_of(0, temperature=temperature)
    objective, images = ready.objective, images_of()
    (teacher,) = objective._teacher
    with torch.no_grad():
        logits = teacher[1](teacher[0](images))
    objective.begin_epoch(Held(images), Clock(0, 8, 0))
    views, rows, clock = ready.batch(1)
    projected = objective.project(views)
    report = objective.loss(projected, rows, {}, clock)
    asked = projected.asks["asked"][:, 0].detach()
    expected, least = 0.0, 0.0
    for row, image in enumerate(rows.index):
        taught = softmax(logits[image].tolist(), temperature)
        expected += crossed(taught, asked[row], temperature) / BATCH
        least -= sum(p * math.log(p) for p in taught) / BATCH
    assert report.loss.item() == pytest.approx(expected, rel=1e-12)
    assert report.shown["divergence"].mean().item() == pytest.approx(expected - least, abs=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_its_gradient_is_the_difference_of_answers(temperature):
    ready = ready_of(temperature=temperature)
    projected, rows, draws, clock = ready.begin(2)
    asked = projected.asks["asked"].detach().requires_grad_()
    told = replace(projected, asks={"asked": asked})
    ready.objective.loss(told, rows, draws, clock).loss.backward()
    answers = (asked.detach()[:, 0] / temperature).softmax(1)
    expected = (answers - ready.objective.targets[rows.index]) / temperature / BATCH
    assert torch.allclose(asked.grad[:, 0], expected, rtol=1e-12, atol=1e-15)


def test_of_a_teacher_that_is_certain_it_is_the_cross_entropy_of_its_labels():
    ready = ready_of()
    projected, rows, draws, clock = ready.begin(2)
    labels = torch.arange(SAMPLES) % 3
    ready.objective.begin_epoch(Held(torch.eye(3)[labels]), Clock(0, 8, 1))  # asks nobody
    ready.objective.targets.copy_(torch.eye(3)[labels])
    found = ready.objective.loss(projected, rows, draws, clock)
    expected = cross_entropy(projected.asks["asked"][:, 0], labels[rows.index])
    assert found.loss.item() == pytest.approx(expected.item(), rel=1e-12)
    assert found.shown["divergence"].mean().item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_copy_of_the_teacher_is_where_the_loss_is_least(temperature):
    ready = ready_of(0, temperature=temperature)
    objective, images = ready.objective, images_of()
    (teacher,) = objective._teacher
    objective.encoder.load_state_dict(teacher[0].state_dict())
    objective.head.load_state_dict(teacher[1].state_dict())
    objective.begin_epoch(Held(images), Clock(0, 8, 0))
    views, rows, clock = ready.batch(1)
    as_they_are = replace(views, families={"global": [images[rows.index]]})
    projected = objective.project(as_they_are)
    report = objective.loss(projected, rows, {}, clock)
    assert report.shown["divergence"].abs().max().item() < 1e-12
    report.loss.backward()
    assert all(one.grad.abs().max() < 1e-12 for one in objective.parameters())
    others = Rows.alone(rows.index.roll(1))
    other = objective.loss(objective.project(as_they_are), others, {}, clock)
    assert other.shown["divergence"].mean().item() > 1e-7


def test_what_a_mixture_is_asked_is_answered_for_both_images():
    ready = ready_of(mixing="unmix", temperature=0.5)
    views, rows, clock = ready.batch(3)
    told = {SHARE: 0.3, KIND: 1.0}
    told = {name: torch.tensor([number], dtype=torch.float64) for name, number in told.items()}
    draws = {**views.draws, **told}
    projected = ready.objective.project(replace(views, draws=draws))
    report = ready.objective.loss(projected, rows, draws, clock)
    mixed, targets = projected.asks["mixed asked"][:, 0].detach(), ready.objective.base.targets
    expected = 0.0
    for row, image in enumerate(rows.index):
        other = rows.index[row ^ 1]
        expected += 0.3 * crossed(targets[image].tolist(), mixed[row], 0.5) / BATCH
        expected += 0.7 * crossed(targets[other].tolist(), mixed[row], 0.5) / BATCH
    assert report.shown["mixed"].item() == pytest.approx(expected, rel=1e-12)


def test_the_teacher_is_asked_once_and_is_no_part_of_the_state():
    ready = ready_of(0)
    corpus = Held(images_of())
    for epoch in range(3):
        ready.objective.begin_epoch(corpus, Clock(4 * epoch, 12, epoch))
    assert corpus.asked == 1
    ours = set(ready.objective.state_dict())
    assert {name.partition(".")[0] for name in ours} == {"encoder", "head", "targets"}
    assert isinstance(ready.objective.head, nn.Linear)


@pytest.mark.parametrize("more", [{}, {"temperature": 0.1}, {"mixing": "unmix"}])
def test_it_keeps_its_contract(more):
    check_objective("distil", {**TAUGHT, **more})


def spec_of(steps=2, **objective):
    training = {"steps": steps, "batch_size": 16, "threads": 1, "workers": 0}
    training |= {"monitor": {"every": 0}, "optimiser": {"learning_rate": 0.01}}
    told = {"base": "distil", **objective}
    body = {"encoder": "test_resnet", "objective": told, "training": training}
    return build(PretrainSpec, body, "test")


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    monkeypatch.setattr("histoscope.core.stages.pretrain.draw_journal", lambda folder: None)


def answers_of(package, images):
    """What a package answers of images, by its parts."""
    encoder, head = package.encoder(), package.head(0)
    with torch.no_grad():
        features = encoder.module(to_unit(torch.from_numpy(images))).numpy()
    return head.probabilities(Bags.of_samples(features))


@pytest.mark.parametrize("method", ["probe", "knn", "full"])
def test_a_run_learns_what_a_package_of_any_method_answers(toy, toy_store, tmp_path, method):
    """And the run has seen what the package has seen."""
    encoder = "random:test_resnet" if method == "full" else "colour"
    package = write_model(toy_store, tmp_path / "package", encoder, method=method)
    spec = spec_of(teacher=str(package.folder), temperature=2.0)
    run = tmp_path / "run"
    pretrain(toy_store, toy.DOMAIN, spec, run, split="test", progress=Silent())
    assert read_seen(run) > package.seen
    targets = load_tensors(run / "objective.safetensors")["targets"].numpy()
    rows = select(toy_store, "train", "test").rows
    expected = answers_of(package, toy_store.reader.images(rows)) ** 0.5
    expected /= expected.sum(1, keepdims=True)
    assert targets == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_the_student_comes_to_say_what_the_teacher_says(toy, toy_store, tmp_path):
    package = write_model(toy_store, tmp_path / "package")
    run = tmp_path / "run"
    pretrain(
        toy_store, toy.DOMAIN, spec_of(40, teacher=str(package.folder)), run, progress=Silent()
    )
    kept = load_tensors(run / "objective.safetensors")
    images = toy_store.reader.images(select(toy_store, "train").rows)
    with torch.no_grad():
        features = load_encoder(run).module(to_unit(torch.from_numpy(images)))
    said = (features @ kept["head.weight"].T + kept["head.bias"]).argmax(1).numpy()
    taught = answers_of(package, images).argmax(1)
    assert len(np.unique(taught)) == 2
    assert (said == taught).mean() > 0.9


def test_of_cut_layers_the_teacher_reads_what_predict_reads(toy, toy_store, tmp_path):
    encoder = "random:test_resnet"
    package = write_model(toy_store, tmp_path / "package", encoder, cut="choose", draws=2)
    run = tmp_path / "run"
    pretrain(toy_store, toy.DOMAIN, spec_of(teacher=str(package.folder)), run, progress=Silent())
    targets = load_tensors(run / "objective.safetensors")["targets"].numpy()
    images = toy_store.reader.images(select(toy_store, "train").rows)
    assert targets == pytest.approx(answers_of(package, images), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("teacher", [None, ""])
def test_without_a_teacher_it_is_refused(teacher):
    with pytest.raises(UsageError, match=r"--set objective.teacher=PACKAGE, which") as fault:
        Rehearsal("distil", {"teacher": teacher})
    assert len(str(fault.value).splitlines()) == 1


def refused(toy, store, out, **objective):
    with pytest.raises((UsageError, DataError)) as fault:
        pretrain(store, toy.DOMAIN, spec_of(**objective), out / "run", progress=Silent())
    assert len(str(fault.value).splitlines()) == 1
    assert not (out / "run").exists()
    return str(fault.value)


def test_what_is_no_package_or_has_no_such_task_is_refused(toy, toy_store, tmp_path):
    package = write_model(toy_store, tmp_path / "package")
    said = refused(toy, toy_store, tmp_path, teacher="colour")
    assert said == "objective.teacher: colour: no model package here; finetune makes one"
    said = refused(toy, toy_store, tmp_path, teacher=str(package.folder), task="hues")
    assert said.endswith("has no task 'hues', did you mean 'hue'?; it has hue")


def test_of_several_tasks_one_is_named(toy, toy_store, signs_store, tmp_path):
    two = write_model(signs_store, tmp_path / "two", tasks=("hue", "signs"))
    said = refused(toy, signs_store, tmp_path, teacher=str(two.folder))
    assert said.endswith("answers hue, signs; --set objective.task=hue")
    said = refused(toy, signs_store, tmp_path, teacher=str(two.folder), task="signs")
    assert "does not say which one class each sample is of" in said
    spec = spec_of(teacher=str(two.folder), task="hue")
    pretrain(signs_store, toy.DOMAIN, spec, tmp_path / "run", progress=Silent())
    assert open_package(two.folder).info.heads[0].task == "hue"


def test_a_package_of_another_scale_is_refused(toy, toy_store, toy_folder, tmp_path):
    package = write_model(toy_store, tmp_path / "package")
    prepare(
        toy.DOMAIN,
        {"input": toy_folder},
        toy.ToySampling(pitch=2.0),
        toy.ToyOptions(),
        tmp_path / "coarse",
        encoding="lossless",
        engine=Local(0),
        progress=Silent(),
    )
    said = refused(toy, Store(tmp_path / "coarse"), tmp_path, teacher=str(package.folder))
    assert "made at pitch 1" in said


@pytest.mark.parametrize(
    "more", [{"projector": {"out": 8}}, {"negatives": "fnc"}, {"temperature": 0.0}]
)
def test_what_does_not_go_together_is_refused(more):
    with pytest.raises(ConfigError, match=next(iter(more))) as fault:
        build(MethodSpec, {"base": "distil", **TAUGHT, **more}, "objective")
    assert len(str(fault.value).splitlines()) == 1


def test_it_is_kept_to_no_frozen_copy():
    with pytest.raises(UsageError, match="continual: distil has no loss"):
        Rehearsal("distil", {**TAUGHT, "continual": "cassle"})
