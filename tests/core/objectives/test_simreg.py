"""SimReg: regression of a head on what a teacher says of each image as it is."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from histoscope.core.config import build
from histoscope.core.data.selection import select
from histoscope.core.data.units import read_seen
from histoscope.core.encoders.folder import load_encoder
from histoscope.core.encoders.pixels import to_unit
from histoscope.core.errors import ConfigError, UsageError
from histoscope.core.objectives.contract import Clock, Rows
from histoscope.core.objectives.mixed import KIND, SHARE
from histoscope.core.objectives.spec import MethodSpec
from histoscope.core.progress import Silent
from histoscope.core.stages.pretrain import pretrain
from histoscope.core.tensors import load_tensors
from histoscope.core.testing.objectives import BATCH, SAMPLES, Rehearsal, check_objective
from histoscope.core.training.spec import PretrainSpec

TAUGHT = {"teacher": "another"}


def ready_of(steps=2, **more):
    ready = Rehearsal("simreg", {**TAUGHT, **more})
    for number in range(steps):
        ready.step(number)
    return ready


def distance(a, b):
    a, b = a.tolist(), b.tolist()
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return 2 - 2 * dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(x * x for x in b))


def test_it_is_its_formula():
    ready = ready_of()
    projected, rows, draws, clock = ready.begin(2)
    report = ready.objective.loss(projected, rows, draws, clock)
    asked = projected.asks["asked"][:, 0].detach()
    pairs = [(asked[row], ready.objective.targets[image]) for row, image in enumerate(rows.index)]
    expected = sum(distance(*pair) for pair in pairs) / BATCH
    assert report.loss.item() == pytest.approx(expected, rel=1e-12)
    assert report.shown["taught_cosine"].item() == pytest.approx(1 - expected / 2, rel=1e-12)


def test_what_a_mixture_is_asked_is_answered_for_both_images():
    ready = ready_of(mixing="unmix")
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
        expected += 0.3 * distance(mixed[row], targets[image]) / BATCH
        expected += 0.7 * distance(mixed[row], targets[other]) / BATCH
    assert report.shown["mixed"].item() == pytest.approx(expected, rel=1e-12)


class Held:
    """A data set of some images."""

    def __init__(self, images):
        self.images, self.asked = images, 0

    def encode(self, module):
        self.asked += 1
        return module(self.images)


def test_a_copy_of_the_teacher_without_a_head_loses_nothing():
    ready = ready_of(0)
    objective = ready.objective
    (teacher,) = objective._teacher
    objective.encoder.load_state_dict(teacher.state_dict())
    objective.head = nn.Identity()
    images = torch.rand(SAMPLES, 3, 16, 16, generator=torch.Generator().manual_seed(0)).double()
    corpus = Held(images)
    with torch.no_grad():
        objective.begin_epoch(corpus, Clock(0, 8, 0))
    views, rows, clock = ready.batch(1)
    as_they_are = replace(views, families={"global": [images[rows.index]]})
    projected = objective.project(as_they_are)
    assert objective.loss(projected, rows, {}, clock).loss.item() == pytest.approx(0, abs=1e-12)
    others = Rows.alone(rows.index.roll(1))
    assert objective.loss(projected, others, {}, clock).loss.item() > 1e-6


def test_the_teacher_is_asked_once_and_is_no_part_of_the_state():
    ready = ready_of(0)
    corpus = Held(torch.rand(SAMPLES, 3, 16, 16).double())
    with torch.no_grad():
        for epoch in range(3):
            ready.objective.begin_epoch(corpus, Clock(4 * epoch, 12, epoch))
    assert corpus.asked == 1
    ours = set(ready.objective.state_dict())
    assert {name.partition(".")[0] for name in ours} == {"encoder", "head", "targets"}


def test_its_head_has_four_layers_and_two_norms():
    head = ready_of(0).objective.head
    kinds = [type(part).__name__ for half in head for part in half]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Linear"] * 2
    widths = [part.out_features for half in head for part in half if isinstance(part, nn.Linear)]
    assert widths == [24, 12, 24, 12]  # of 12


@pytest.mark.parametrize("more", [{}, {"hidden": 8}, {"mixing": "unmix"}])
def test_it_keeps_its_contract(more):
    check_objective("simreg", {**TAUGHT, **more})


def spec_of(**more):
    training = {"steps": 2, "batch_size": 8, "threads": 1, "workers": 0, "monitor": {"every": 0}}
    body = {"encoder": "test_resnet", "training": training, **more}
    return build(PretrainSpec, body, "test")


def test_what_the_teacher_has_seen_the_run_has_seen(toy, toy_store, tmp_path, monkeypatch):
    """And keeps what it said of each image as it is."""
    monkeypatch.setattr("histoscope.core.stages.pretrain.draw_journal", lambda folder: None)
    teacher, run = tmp_path / "teacher", tmp_path / "run"
    first = spec_of(objective={"base": "byol"})
    pretrain(toy_store, toy.DOMAIN, first, teacher, split="test", progress=Silent())
    learnt = spec_of(objective={"base": "simreg", "teacher": str(teacher)})
    pretrain(toy_store, toy.DOMAIN, learnt, run, progress=Silent())
    assert read_seen(run) > read_seen(teacher)
    targets = load_tensors(run / "objective.safetensors")["targets"]
    rows = select(toy_store, "train").rows
    images = torch.from_numpy(toy_store.reader.images(rows))
    with torch.no_grad():
        expected = load_encoder(teacher).module(to_unit(images))
    assert torch.allclose(targets, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("teacher", [None, ""])
def test_without_a_teacher_it_is_refused(teacher):
    with pytest.raises(UsageError, match=r"--set objective.teacher=RUN, or a package") as fault:
        Rehearsal("simreg", {"teacher": teacher})
    assert len(str(fault.value).splitlines()) == 1


def test_a_teacher_that_is_not_there_is_refused(toy, toy_store, tmp_path):
    spec = spec_of(objective={"base": "simreg", "teacher": str(tmp_path / "none")})
    with pytest.raises(UsageError, match="none: no encoder here; give ") as fault:
        pretrain(toy_store, toy.DOMAIN, spec, tmp_path / "run", progress=Silent())
    assert len(str(fault.value).splitlines()) == 1


@pytest.mark.parametrize("more", [{"projector": {"out": 8}}, {"negatives": "fnc"}, {"hidden": 2}])
def test_what_does_not_go_together_is_refused(more):
    with pytest.raises(ConfigError, match=next(iter(more))) as fault:
        build(MethodSpec, {"base": "simreg", **TAUGHT, **more}, "objective")
    assert len(str(fault.value).splitlines()) == 1


def test_it_is_kept_to_no_frozen_copy():
    with pytest.raises(UsageError, match="continual: simreg has no loss"):
        Rehearsal("simreg", {**TAUGHT, "continual": "cassle"})
