"""Revisiting: small crops that ask the first view's key, and keys near by what lies beneath."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from histoscope.core.config import build
from histoscope.core.errors import ConfigError, UsageError
from histoscope.core.objectives.contract import Clock
from histoscope.core.objectives.moco_v2 import BENEATH, KEPT_BENEATH
from histoscope.core.objectives.spec import MethodSpec
from histoscope.core.testing.objectives import BATCH, STEPS, Rehearsal, check_objective

NARROW = {"projector": {"hidden": 8, "out": 4}, "temperature": 0.2}
NEAREST = {"kind": "revisiting", "count": 5, "begins": 0}
WAYS = {  # both directions or one; and which view's key each that asks is pulled to
    "two directions": ({"symmetric": True}, 0, [1, 0]),
    "two directions, small crops": ({"symmetric": True}, 3, [1, 0, 0, 0, 0]),
    "one direction, small crops": ({"symmetric": False}, 2, [0, 0, 0]),
}


def ready_of(steps=5, local=0, momentum=None, **more):
    """After some steps, with a queue that is not yet full."""
    told = {"rows": 200, "groups": 1, **(momentum or {})}
    settings = {**NARROW, "local": local, "momentum": told, "positives": NEAREST, **more}
    ready = Rehearsal("moco_v2", settings)
    for number in range(steps):
        ready.step(number)
    return ready


def of_views(ready, step):
    """By the network itself: features of what asks with the head's rows, keys of both views."""
    objective, (views, _, _) = ready.objective, ready.batch(step)
    large, small = views.families["global"], views.families.get("local", [])
    asking = [large[place] for place in objective.asking] + list(small)
    with torch.no_grad():
        features = [objective.encoder(view) for view in asking]
        asked = [normalize(objective.projector(rows), dim=1) for rows in features]
        keys = [normalize(objective.slow(view), dim=1) for view in large]
    return [normalize(rows, dim=1) for rows in features], asked, keys


def by_loops(ready, step, rows, answering, count):
    """MoCo's mean over all that asks, and the same of its nearest in the queue alone."""
    queue, owners = ready.objective.queue, ready.objective.queue.index.tolist()
    features, asked, keys = of_views(ready, step)
    base, near = [], []
    for beneath, queries, of in zip(features, asked, answering, strict=True):
        for place, own in enumerate(rows.index.tolist()):
            slots = [slot for slot, owner in enumerate(owners) if owner not in (-1, own)]
            pull = {
                slot: math.exp((queries[place] @ queue.features[slot]).item() / 0.2)
                for slot in slots
            }
            top = math.exp((queries[place] @ keys[of][place]).item() / 0.2)
            base.append(-math.log(top / (top + sum(pull.values()))))
            alike = {slot: (beneath[place] @ queue.beneath[slot]).item() for slot in slots}
            chosen = sorted(slots, key=lambda slot: -alike[slot])[:count]
            logs = [math.log(pull[slot] / sum(pull.values())) for slot in chosen]
            near.append(-sum(logs) / len(logs))
    return sum(base) / len(base), sum(near) / len(near)


@pytest.mark.parametrize("way", WAYS)
def test_it_is_its_formula(way):
    momentum, local, answering = WAYS[way]
    ready = ready_of(local=local, momentum=momentum)
    projected, rows, draws, clock = ready.begin(5)
    report = ready.objective.loss(projected, rows, draws, clock)
    base, near = by_loops(ready, 5, rows, answering, 5)
    (one, plain), (weight, term) = report.terms
    assert (one, weight) == (1, 0.4)
    assert plain.item() == pytest.approx(base, rel=1e-12)
    assert term.item() == pytest.approx(near, rel=1e-12)
    assert report.shown["nearest"] is term


def test_keys_that_are_near_by_themselves_are_others():
    """The comparison with loops can fail."""
    ready = ready_of()
    projected, rows, draws, clock = ready.begin(5)
    expected = ready.objective.loss(projected, rows, draws, clock).shown["nearest"]
    asked = [normalize(ask.detach()[:, 0], dim=1) for ask in projected.asks.values()]
    queue = ready.objective.queue
    ready.objective.beneath = lambda projected: [rows @ queue.features.T for rows in asked]
    found = ready.objective.loss(projected, rows, draws, clock).shown["nearest"]
    assert found < expected - 1e-4


def test_both_queues_have_one_pointer():
    ready = ready_of(steps=4)
    objective = ready.objective
    before = objective.queue.beneath.clone()
    projected, rows, _, clock = ready.begin(4)
    objective.after_step(projected, rows, clock)
    images = ready.batch(4)[0].families["global"]
    with torch.no_grad():
        beneath = [normalize(objective.slow[0](images[view]), dim=1) for view in (1, 0)]
        keys = [normalize(objective.slow(images[view]), dim=1) for view in (1, 0)]
    start = 4 * 2 * BATCH
    places = torch.arange(start, start + 2 * BATCH) % 200
    assert torch.allclose(objective.queue.beneath[places], torch.cat(beneath), atol=1e-12)
    assert torch.allclose(objective.queue.features[places], torch.cat(keys), atol=1e-12)
    kept = torch.ones(200, dtype=torch.bool)
    kept[places] = False
    assert torch.equal(objective.queue.beneath[kept], before[kept])


def test_an_image_does_not_find_itself():
    """The paper's code reads the queue after the step's own keys came in: each finds its slot."""
    ready = ready_of()
    projected, rows, draws, clock = ready.begin(5)
    queue = ready.objective.queue
    slots = (queue.index < 0).nonzero()[:BATCH, 0]
    queue.index[slots] = rows.index
    queue.features[slots] = projected.answers["keys 0"][:, 0]
    queue.beneath[slots] = projected.answers[BENEATH][:, 0]
    alike = projected.answers[BENEATH][:, 0] @ queue.beneath.T
    assert torch.equal(alike.argmax(1), slots)  # it would be the nearest
    found = ready.objective.loss(projected, rows, draws, clock).shown["nearest"].item()
    assert found == pytest.approx(by_loops(ready, 5, rows, [1, 0], 5)[1], rel=1e-12)
    others = replace(rows, index=rows.index + 1)
    assert ready.objective.loss(projected, others, draws, clock).shown["nearest"].item() != found


def test_an_empty_queue_pulls_nowhere():
    ready = ready_of(steps=0)
    projected, rows, draws, clock = ready.begin(0)
    report = ready.objective.loss(projected, rows, draws, clock)
    report.loss.backward()
    assert report.shown["nearest"].item() == 0
    grads = [p.grad for p in ready.objective.parameters() if p.grad is not None]
    assert all(grad.isfinite().all() for grad in grads)


def test_before_it_begins_there_is_no_such_term():
    ready = ready_of(positives={**NEAREST, "begins": 0.5})
    projected, rows, draws, _ = ready.begin(5)
    found = [
        ready.objective.loss(projected, rows, draws, Clock(step, STEPS, 0)).shown["nearest"].item()
        for step in (3, 4)
    ]
    assert found[0] == 0 < found[1]


def test_what_lies_beneath_travels_without_a_gradient_and_only_where_it_is_asked_for():
    names = {BENEATH, KEPT_BENEATH}
    projected = ready_of(steps=0, local=2).begin(0)[0]
    assert names <= projected.answers.keys()
    assert projected.answers[BENEATH].shape == (BATCH, 4, 12)
    assert not any(projected.answers[name].requires_grad for name in names)
    plain = ready_of(steps=0, positives=None)
    assert not names & plain.begin(0)[0].answers.keys()
    assert "queue.beneath" not in plain.objective.state_dict()


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("matched", [True, False])
def test_it_keeps_its_contract_with_small_crops(symmetric, matched):
    momentum = {"rows": 64, "groups": 1, "symmetric": symmetric}
    settings = {"local": 2, "momentum": momentum, "positives": NEAREST, "negatives": "fnc"}
    check_objective("moco_v2", settings, matched=matched)


def test_small_crops_are_mixed_as_others_are():
    check_objective("moco_v2", {"local": 2, "positives": NEAREST, "mixing": "unmix"})


@pytest.mark.parametrize(("symmetric", "opposed"), [(True, [1, 1, 0, 0]), (False, [1, 0, 0])])
def test_what_opposes_a_view_does_not_oppose_small_crops(symmetric, opposed):
    momentum = {"rows": 64, "groups": 1, "symmetric": symmetric}
    ready = Rehearsal("moco_v2", {**NARROW, "local": 2, "momentum": momentum}, matched=True)
    projected, rows, _, _ = ready.begin(0)
    sims = ready.objective._opposed(ready.objective.compare(projected, rows), projected, rows)
    assert [sim.own.logits.shape[1] - 1 for sim in sims] == opposed
    if not symmetric:  # it is the second view that asks
        assert torch.equal(sims[0].own.matched[:, 0], rows.donors[:, 3])


def test_a_base_without_a_queue_is_refused():
    with pytest.raises(UsageError, match=r"simclr has none; set objective\.base=moco_v2$"):
        Rehearsal("simclr", {"positives": "revisiting"})


def test_two_sources_of_positives_are_refused():
    body = {
        "base": "moco_v2",
        "positives": "revisiting",
        "negatives": {"kind": "fnc", "way": "attract"},
    }
    with pytest.raises(ConfigError, match="positives revisiting are two sources of positives"):
        build(MethodSpec, body, "objective")
