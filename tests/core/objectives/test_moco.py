"""MoCo v2: the queue, the slow copy, and the loss as loops."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from histoscope.core.losses.contrast import against_queue, decoupled, infonce
from histoscope.core.memory.queue import FeatureQueue
from histoscope.core.objectives.contract import Views
from histoscope.core.objectives.moco_v2 import ORDERS, MoCoV2
from histoscope.core.objectives.spec import MomentumSpec, ObjectiveSpec, ProjectorSpec


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
    q, k, keys = rng.normal(size=(5, 7)), rng.normal(size=(5, 7)), rng.normal(size=(9, 7))
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
    """MoCo on a tiny network with batch norm."""
    torch.manual_seed(0)
    encoder = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(12, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU()
    )
    momentum = MomentumSpec(**{"rows": 8, "rate": 0.9, "groups": 2, **more})
    spec = ObjectiveSpec(
        base="moco_v2", projector=ProjectorSpec(hidden=8, out=4), momentum=momentum
    )
    return MoCoV2(encoder, 8, spec).train()


def stepped(method, views, step):
    """Up to the loss, as the loop does it."""
    method.before_step(step)
    return method.loss(method(views.global_views, views.permutations), views.index, step)


def batch(first, count=8, seed=0):
    rng = torch.Generator().manual_seed(seed)
    views = [torch.rand(count, 3, 2, 2, generator=rng) for _ in range(2)]
    orders = {name: torch.randperm(count, generator=rng) for name in ORDERS}
    return Views(torch.arange(first, first + count), views, orders)


def test_with_a_queue_of_one_batch_the_negatives_are_the_last_batchs_keys():
    method = made(symmetric=False)
    stepped(method, batch(0), 0)
    last = method._aside[0].clone()
    method.after_step(0)
    assert torch.equal(method.queue.features, last)
    views = batch(100, seed=1)
    report = stepped(method, views, 1)
    keys = method._aside[0].double().numpy()
    method.train()
    with torch.no_grad():
        straight = torch.arange(8)
        queries = method._in_groups(method._fast, views.global_views[0], straight)
    expected = by_loops(
        queries.double().numpy(),
        keys,
        np.arange(100, 108),
        last.double().numpy(),
        range(8),
        0.2,
        True,
    )
    assert report.loss.item() == pytest.approx(expected, rel=1e-5)


def test_own_images_in_the_queue_are_no_negatives():
    method = made()
    stepped(method, batch(0), 0)
    method.after_step(0)
    again = stepped(method, batch(0), 1)  # all rows of the queue are own or of the same batch
    method.queue.index.fill_(3)  # every row is image 3's
    alone = against_queue(
        torch.ones(1, 4),
        torch.ones(1, 4),
        torch.tensor([3]),
        method.queue.features,
        method.queue.index,
    )
    assert infonce(alone, 0.2).item() == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(again.loss)


def test_the_slow_copy_moves_by_its_rate_and_gets_no_gradient():
    method = made()
    stepped(method, batch(0), 0)
    method.after_step(0)
    before = [p.clone() for p in method.slow.parameters()]
    with torch.no_grad():
        for parameter in method.encoder.parameters():
            parameter.add_(1.0)
    fast = [*method.encoder.parameters(), *method.projector.parameters()]
    stepped(method, batch(50), 1).loss.backward()
    for slow, old, now in zip(method.slow.parameters(), before, fast, strict=True):
        assert torch.allclose(slow, 0.9 * old + 0.1 * now, atol=1e-6)
        assert slow.grad is None
    assert all(parameter.grad is not None for parameter in method.encoder.parameters())


def test_keys_come_back_in_the_order_of_their_images():
    method = made(groups=3)
    images, order = torch.rand(8, 5), torch.randperm(8)
    assert torch.equal(method._in_groups(lambda part: part, images, order), images)
    sizes = []
    method._in_groups(lambda part: sizes.append(len(part)) or part, images, order)
    assert sizes == [3, 3, 2]


def test_all_state_is_in_the_state_dict():
    method = made()
    for step in range(3):
        stepped(method, batch(8 * step, seed=step), step)
        method.after_step(step)
    other = made()
    other.load_state_dict(method.state_dict())
    views = batch(77, seed=9)
    assert stepped(method, views, 3).loss.item() == stepped(other, views, 3).loss.item()


def test_it_asks_for_two_images_a_group():
    assert made(groups=5).needs.least_part == 10


def test_a_base_and_its_negatives_must_fit():
    assert ObjectiveSpec(base="moco_v2").negatives is None
    with pytest.raises(ValidationError, match="negatives of moco_v2 come from queue"):
        ObjectiveSpec(base="moco_v2", negatives="in_batch")
