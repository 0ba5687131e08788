"""CaSSLe: a base's own loss between predictions and what a frozen copy says of the same views."""

from __future__ import annotations

import math
from itertools import chain

import pytest
import torch
from torch import nn

from histoscope.core.config import build
from histoscope.core.encoders.making import random_encoder
from histoscope.core.encoders.timm import TimmSpec
from histoscope.core.errors import ConfigError, UsageError
from histoscope.core.losses.decorrelation import EPSILON
from histoscope.core.objectives.spec import MethodSpec
from histoscope.core.progress import Silent
from histoscope.core.stages.pretrain import pretrain
from histoscope.core.testing.objectives import BATCH, Rehearsal, check_objective
from histoscope.core.training.spec import PretrainSpec

HEAD = {"projector": {"hidden": 16, "out": 8}}
SETTINGS = {
    "simclr": {**HEAD, "temperature": 0.3},
    "moco_v2": {**HEAD, "momentum": {"rows": 16, "groups": 2}},
    "byol": HEAD,
    "msf": {**HEAD, "neighbours": {"rows": 40, "count": 4}},
    "cmsf": {**HEAD, "neighbours": {"rows": 40, "count": 4}},
    "barlow_twins": HEAD,
}
CODES = {"swav": {"codes": {"prototypes": 12}}}
VIEWS = {"msf": [1], "cmsf": [1]}  # that the network is asked of, where these are not both


def ready_of(base, steps=2, encoder=None, **more):
    """After some steps, when the network is no longer what it was."""
    told = {**SETTINGS[base], "continual": {"kind": "cassle", "hidden": 16, **more}}
    ready = Rehearsal(base, told, encoder)
    for number in range(steps):
        ready.step(number)
    return ready


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(x * x for x in b))


def contrast(asked, target, told):
    """All rows of all views among each other, one way and the other."""
    warm, total = told["temperature"]["value"], 0.0
    asked, target = ([*chain(*views)] for views in (asked, target))
    for one, others in ((asked, target), (target, asked)):
        for row, mine in enumerate(one):
            logits = [cosine(mine, other) / warm for other in others]
            total -= math.log(math.exp(logits[row]) / sum(map(math.exp, logits)))
    return total / 2 / len(asked)


def regression(asked, target, told):
    rows = [pair for views in zip(asked, target, strict=True) for pair in zip(*views, strict=True)]
    return sum(2 - 2 * cosine(*pair) for pair in rows) / len(rows)


def standardised(column):
    mean = sum(column) / len(column)
    spread = sum((x - mean) ** 2 for x in column) / len(column)
    return [(x - mean) / math.sqrt(spread + EPSILON) for x in column]


def correlation(asked, target, told):
    total = 0.0
    for view in zip(asked, target, strict=True):
        one, other = ([standardised(c) for c in zip(*rows, strict=True)] for rows in view)
        for i, mine in enumerate(one):
            for j, its in enumerate(other):
                c = sum(x * y for x, y in zip(mine, its, strict=True)) / BATCH
                total += (1 - c) ** 2 if i == j else told["redundancy"] * c**2
    return told["scale"] * total / len(asked)


KINDS = {"simclr": contrast, "moco_v2": contrast, "barlow_twins": correlation}


@pytest.mark.parametrize("base", SETTINGS)
def test_it_is_its_formula(base):
    """L + w D(g(f), f before), the features made by hand of each view."""
    ready = ready_of(base, weight=0.7)
    views, rows, clock = ready.batch(3)
    objective = ready.objective
    with torch.no_grad():
        objective.before_step(clock)
        images = [views.families["global"][view] for view in VIEWS.get(base, [0, 1])]
        asked = [objective.predictor(objective.base.encoder(one)).tolist() for one in images]
        target = [objective.before.network(one).tolist() for one in images]
    projected, plain = (one.project(views) for one in (objective, objective.base))
    report = objective.loss(projected, rows, views.draws, clock)
    told = objective.base.spec.model_dump() if hasattr(objective.base, "spec") else {}
    expected = KINDS.get(base, regression)(asked, target, told)
    assert report.shown["continual"].item() == pytest.approx(expected, rel=1e-12)
    its = objective.base.loss(plain, rows, views.draws, clock).loss.item()
    assert report.loss.item() == pytest.approx(its + 0.7 * expected, rel=1e-12)


def trained(base, **more):
    """Losses, and the state of the base."""
    ready = Rehearsal(base, {**SETTINGS[base], **more})
    losses = [ready.step(number) for number in range(5)]
    return losses, getattr(ready.objective, "base", ready.objective).state_dict()


@pytest.mark.parametrize("base", SETTINGS)
def test_a_weight_of_none_is_the_base_bit_for_bit(base):
    losses, state = trained(base, continual={"kind": "cassle", "weight": 0})
    expected, its = trained(base)
    assert losses == expected
    assert all(torch.equal(state[name], value) for name, value in its.items())
    assert trained(base, continual="cassle")[0] != expected


@pytest.mark.parametrize("base", ["byol", "msf"])
def test_a_network_that_has_not_moved_and_predicts_itself_loses_nothing(base):
    ready = ready_of(base, steps=0)
    ready.objective.predictor = nn.Identity()
    report = ready.objective.loss(*ready.begin(0))
    assert report.shown["continual"].item() == pytest.approx(0, abs=1e-12)


def test_partners_and_support_are_not_kept():
    """They pass the network, too, but behind the two views."""
    ready = Rehearsal(
        "simclr", {**HEAD, "continual": "cassle", "positives": "near", "negatives": "fnc"}
    )
    views, *_ = ready.batch(0)
    said = ready.objective.project(views).answers["continual"]
    for place, view in enumerate(views.families["global"]):
        assert torch.equal(said[:, place], ready.objective.before(view))
    assert said.shape[1] == 2


def test_the_frozen_copy_never_drifts():
    """Its batch norm neither; that of the network sees each view once."""
    encoder = random_encoder(TimmSpec(name="test_resnet"), 16, 0)
    first = {name: value.clone().double() for name, value in encoder.state_dict().items()}
    ready = ready_of("simclr", encoder=encoder)
    objective = ready.objective.train()
    assert not any(part.training for part in objective.before.modules())
    held = objective.before.network.state_dict()
    assert all(torch.equal(held[name].double(), value) for name, value in first.items())
    seen = [n for n in objective.base.encoder.modules() if isinstance(n, nn.BatchNorm2d)]
    assert {int(norm.num_batches_tracked) for norm in seen} == {4}  # of two steps


@pytest.mark.parametrize("base", SETTINGS)
@pytest.mark.parametrize("mixing", [None, "unmix"])
def test_it_keeps_its_contract(base, mixing):
    check_objective(base, {**SETTINGS[base], "continual": "cassle", "mixing": mixing})


def test_mixed_views_are_not_kept():
    ready = Rehearsal("byol", {**HEAD, "continual": "cassle", "mixing": "unmix"})
    projected, rows, draws, clock = ready.begin(0)
    report = ready.objective.loss(projected, rows, draws, clock)
    alone = ready.objective.base.loss(ready.objective._plain(projected), rows, draws, clock)
    assert torch.equal(report.shown["continual"], alone.shown["continual"])


@pytest.mark.parametrize("base", ["swav", "dino", "ibot"])
def test_bases_without_such_a_loss_are_refused(base):
    with pytest.raises(UsageError, match=f"continual: {base} has no loss .*; take simclr") as fault:
        Rehearsal(base, {**CODES.get(base, {}), "continual": "cassle"})
    assert len(str(fault.value).splitlines()) == 1


def test_without_a_start_there_is_nothing_to_keep(toy, toy_store, tmp_path):
    told = {"base": "byol", "continual": "cassle"}
    spec = build(PretrainSpec, {"encoder": "test_resnet", "objective": told}, "test")
    with pytest.raises(UsageError, match=r"continual: new weights .*; give --init RUN") as fault:
        pretrain(toy_store, toy.DOMAIN, spec, tmp_path / "run", progress=Silent())
    assert len(str(fault.value).splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [("casle", "did you mean 'cassle'"), ({"kind": "cassle", "weight": -1}, "weight")],
)
def test_what_cannot_be_is_refused_with_the_key(more, said):
    with pytest.raises(ConfigError, match=said):
        build(MethodSpec, {"base": "byol", "continual": more}, "objective")
