"""MoCo v2: the queue, the slow copy, and the loss as loops."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from histoscope.core.losses.contrast import against_queue, decoupled, infonce
from histoscope.core.memory.queue import FeatureQueue
from histoscope.core.objectives.contract import Clock
from histoscope.core.objectives.spec import MethodSpec
from histoscope.core.testing.objectives import Rehearsal


def unit(row):
    return row / np.linalg.norm(row)


def by_loops(q, k, own, keys, index, temperature, positive_below):
    """Mean over queries of -log(own key / all), own and empty rows of the queue left out."""
    total = 0.0
    for i in range(len(q)):
        positive = math.exp(unit(q[i]) @ unit(k[i]) / temperature)
        below = positive if positive_below else 0.0
        for row, came_from in zip(keys, index, strict=True):
            if came_from not in (-1, own[i]):
                below += math.exp(unit(q[i]) @ unit(row) / temperature)
        total -= math.log(positive / below)
    return total / len(q)


@pytest.mark.parametrize(("reduce", "positive_below"), [(infonce, True), (decoupled, False)])
def test_the_loss_is_its_formula(reduce, positive_below):
    rng = np.random.default_rng(0)
    q, k, keys = (rng.normal(size=(rows, 7)) for rows in (5, 5, 9))
    k, keys = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (k, keys))
    own, index = np.arange(5), np.array([0, 4, 4, 7, 8, 9, 11, -1, -1])
    sim = against_queue(*(torch.tensor(a) for a in (q, k, own, keys, index)))
    found = reduce(sim, 0.2).mean().item()
    assert found == pytest.approx(by_loops(q, k, own, keys, index, 0.2, positive_below), rel=1e-12)


def test_one_query_and_one_stranger_by_hand():
    q = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    keys = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    sim = against_queue(q, q, torch.tensor([0]), keys, torch.tensor([3]))
    assert infonce(sim, 1.0).item() == pytest.approx(math.log(1 + math.exp(-1)), rel=1e-12)


def test_the_queue_overwrites_the_oldest_and_keeps_the_images_beside():
    queue = FeatureQueue(5, 1)
    assert not queue.filled.any()
    for start in (0, 3, 6):
        rows = torch.arange(start, start + 3)
        queue.put(rows[:, None].float(), rows)
    assert queue.index.tolist() == [5, 6, 7, 8, 4]
    assert queue.features[:, 0].tolist() == queue.index.tolist()
    queue.put(torch.arange(9.0)[:, None], torch.arange(9))
    assert sorted(queue.index.tolist()) == [4, 5, 6, 7, 8]


def made(**more):
    """MoCo on a small network in float64."""
    momentum = {"rows": 16, "rate": 0.9, "groups": 2, **more}
    return Rehearsal("moco_v2", {"projector": {"hidden": 8, "out": 4}, "momentum": momentum})


def test_with_a_queue_of_one_batch_the_negatives_are_the_last_batchs_keys():
    ready = made(symmetric=False)
    last = ready.begin(0)[0].answers["keys 0"][:, 0].clone()
    ready.step(0)
    assert torch.allclose(ready.objective.queue.features, last, atol=1e-12)
    projected, rows, draws, clock = ready.begin(1)
    report = ready.objective.loss(projected, rows, draws, clock)
    expected = by_loops(
        projected.asks["queries 0"][:, 0].detach().numpy(),
        projected.answers["keys 0"][:, 0].numpy(),
        rows.index.numpy(),
        last.numpy(),
        ready.batch(0)[1].index.numpy(),
        0.2,
        True,
    )
    assert report.loss.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("reduce", [infonce, decoupled])
def test_without_negatives_there_is_nothing_to_learn(reduce):
    query = torch.rand(3, 4, dtype=torch.float64, requires_grad=True)
    empty = torch.zeros(5, 4, dtype=torch.float64), torch.full((5,), -1)
    loss = reduce(against_queue(query, query.detach().flip(0), torch.arange(3), *empty), 0.2).mean()
    loss.backward()
    assert loss.item() == 0
    assert not query.grad.any()


def test_own_images_in_the_queue_are_no_negatives():
    ready = made()
    ready.step(0)
    projected, rows, draws, clock = ready.begin(1)
    ready.objective.queue.index.fill_(3)  # every row is image 3's
    own = replace(rows, index=torch.full_like(rows.index, 3))
    assert ready.objective.loss(projected, own, draws, clock).loss.item() == 0
    assert ready.objective.loss(projected, rows, draws, clock).loss.item() > 0


def test_the_slow_copy_moves_by_its_rate_and_gets_no_gradient():
    ready = made()
    ready.step(0)
    objective = ready.objective
    before = [p.clone() for p in objective.slow.parameters()]
    with torch.no_grad():
        for parameter in objective.encoder.parameters():
            parameter.add_(1.0)
    fast = [*objective.encoder.parameters(), *objective.projector.parameters()]
    projected, rows, draws, clock = ready.begin(1)
    objective.loss(projected, rows, draws, clock).loss.backward()
    for slow, old, now in zip(objective.slow.parameters(), before, fast, strict=True):
        assert torch.allclose(slow, 0.9 * old + 0.1 * now, atol=1e-12)
        assert slow.grad is None
    assert all(parameter.grad is not None for parameter in objective.encoder.parameters())


@pytest.mark.parametrize(("steps", "kept"), [(5, 0.0), (150, 1 - 1 / 15), (10_000, 0.99)])
def test_its_rate_is_by_the_runs_length(steps, kept):
    objective = made(rate=None).objective
    before = [p.clone() for p in objective.slow.parameters()]
    with torch.no_grad():
        for parameter in objective.encoder.parameters():
            parameter.add_(1.0)
        objective.before_step(Clock(1, steps, 0))
    fast = [*objective.encoder.parameters(), *objective.projector.parameters()]
    for slow, old, now in zip(objective.slow.parameters(), before, fast, strict=True):
        assert torch.allclose(slow, kept * old + (1 - kept) * now, atol=1e-12)


def test_keys_come_back_in_the_order_of_their_images():
    method = made(groups=3).objective
    images, order = torch.rand(8, 5), torch.randperm(8)
    assert torch.equal(method._in_groups(lambda part: [part], images, order)[0], images)
    sizes = []
    method._in_groups(lambda part: sizes.append(len(part)) or [part], images, order)
    assert sizes == [3, 3, 2]


def test_it_asks_for_two_images_a_group():
    assert made(groups=5).objective.needs.least_part == 10


def test_a_base_and_its_negatives_must_fit():
    with pytest.raises(ValidationError, match="negatives"):
        MethodSpec.model_validate({"base": "moco_v2", "negatives": "in_batch"})
