"""The order of samples over a base: its formula, its degenerate cases, its contract."""

from __future__ import annotations

import pytest
import torch

from histoscope.core.config import build
from histoscope.core.encoders.making import random_encoder
from histoscope.core.encoders.timm import TimmSpec
from histoscope.core.errors import ConfigError
from histoscope.core.objectives.spec import MethodSpec
from histoscope.core.testing.objectives import Rehearsal, check_objective
from tests.core.losses.test_ranking import by_loops

HEAD = {"projector": {"hidden": 16, "out": 8}}
SETTINGS = {
    "simclr": HEAD,
    "moco_v2": {**HEAD, "momentum": {"rows": 16, "groups": 2}},
    "relicv2": {**HEAD, "negatives": {"kind": "sampled", "count": 9}},
    "byol": HEAD,
    "barlow_twins": HEAD,
    "swav": {**HEAD, "codes": {"prototypes": 6}},
    "dino": {**HEAD, "prototypes": 12},
    "ibot": {**HEAD, "prototypes": 12},
    "msf": {**HEAD, "neighbours": {"rows": 40, "count": 4}},
    "cmsf": {**HEAD, "neighbours": {"rows": 40, "count": 4}},
    "simreg": {"teacher": "colour"},
    "distil": {"teacher": "package"},
}
BESIDE = [{}, {"mixing": "unmix"}, {"mixing": "unmix", "continual": "cassle"}]


def trained(base, encoder=None, **more):
    """Losses of five steps, and the state of the base."""
    ready = Rehearsal(base, {**SETTINGS[base], **more}, encoder and encoder())
    losses = [ready.step(number) for number in range(5)]
    return losses, (ready.objective.base if "order" in more else ready.objective).state_dict()


@pytest.mark.parametrize("base", ["simclr", "byol"])
def test_it_is_its_formula(base):
    """L + w times the mean over groups of two and more, the scores made by hand."""
    order = {"kind": "plackett_luce", "weight": 0.7, "samples": 4}
    ready = Rehearsal(base, {**SETTINGS[base], "order": order})
    ready.step(0)
    objective, (views, rows, clock) = ready.objective, ready.batch(1)
    with torch.no_grad():
        objective.before_step(clock)
    shown = views.families["ordered"]
    scores = [objective.scorer(objective.base.encoder(one))[:, 0].tolist() for one in shown]
    known = [one.tolist() for one in views.known["ordered"]]
    groups = [
        (s, k) for s, k in zip(zip(*scores, strict=True), zip(*known, strict=True), strict=True)
    ]
    assert {sum(k) for _, k in groups} == {1, 2, 3, 4}
    lost = [by_loops(s, k) for s, k in groups if sum(k) > 1]
    report = objective.loss(objective.project(views), rows, views.draws, clock)
    assert report.shown["order"].item() == pytest.approx(sum(lost) / len(lost), rel=1e-12)
    plain = objective.base.project(views)
    its = objective.base.loss(plain, rows, views.draws, clock).loss.item()
    assert report.loss.item() == pytest.approx(its + 0.7 * sum(lost) / len(lost), rel=1e-12)


@pytest.mark.parametrize("beside", BESIDE[:2])
@pytest.mark.parametrize("base", ["simclr", "moco_v2", "byol", "swav", "dino"])
def test_a_weight_of_none_is_the_base_bit_for_bit(base, beside):
    order = {"kind": "plackett_luce", "weight": 0, "samples": 3}
    losses, state = trained(base, order=order, **beside)
    expected, its = trained(base, **beside)
    assert losses == expected
    assert state.keys() == its.keys()
    assert all(torch.equal(state[name], value) for name, value in its.items())
    assert trained(base, order="plackett_luce", **beside)[0] != expected


def normed():
    return random_encoder(TimmSpec(name="test_resnet"), 16, 0)


def test_a_weight_of_none_leaves_statistics_of_batch_norm_as_they_are():
    order = {"kind": "plackett_luce", "weight": 0, "samples": 2}
    losses, state = trained("simclr", normed, order=order)
    expected, its = trained("simclr", normed)
    assert losses == expected
    assert all(torch.equal(state[name], value) for name, value in its.items())


def test_one_sample_has_no_order():
    ready = Rehearsal("simclr", {**HEAD, "order": {"kind": "plackett_luce", "samples": 1}})
    projected, rows, draws, clock = ready.begin(0)
    report = ready.objective.loss(projected, rows, draws, clock)
    assert report.shown["order"].item() == 0
    report.terms[-1][1].backward()
    assert not any(p.grad.any() for p in ready.objective.scorer.parameters())
    losses, _ = trained("simclr", order={"kind": "plackett_luce", "samples": 1})
    assert losses == trained("simclr")[0]


def test_the_gradient_reaches_network_and_head():
    ready = Rehearsal("simclr", {**HEAD, "order": "plackett_luce"})
    projected, rows, draws, clock = ready.begin(0)
    ready.objective.loss(projected, rows, draws, clock).terms[-1][1].backward()
    for part in (ready.objective.scorer, ready.objective.base.encoder):
        moved = [parameter for parameter in part.parameters() if parameter.requires_grad]
        assert moved[0].grad.any()


@pytest.mark.parametrize("base", SETTINGS)
def test_it_keeps_its_contract(base):
    check_objective(base, {**SETTINGS[base], "order": "plackett_luce"})


@pytest.mark.parametrize("beside", BESIDE[1:])
def test_it_keeps_its_contract_around_what_is_around_a_base(beside):
    check_objective("byol", {**HEAD, **beside, "order": "plackett_luce"})


def test_ordered_samples_are_not_mixed():
    told = {**HEAD, "order": "plackett_luce"}
    plain, mixed = (Rehearsal("byol", {**told, **more}) for more in BESIDE[:2])
    mixed.objective.scorer.load_state_dict(plain.objective.scorer.state_dict())
    scores = [one.begin(0)[0].asks["order"] for one in (plain, mixed)]
    assert torch.equal(*scores)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("placket_luce", "did you mean 'plackett_luce'"),
        ({"kind": "plackett_luce", "samples": 0}, "samples"),
        ({"kind": "plackett_luce", "weight": -1}, "weight"),
    ],
)
def test_what_cannot_be_is_refused_with_the_key(more, said):
    with pytest.raises(ConfigError, match=said):
        build(MethodSpec, {"base": "byol", "order": more}, "objective")
