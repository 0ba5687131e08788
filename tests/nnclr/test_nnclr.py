"""NNCLR, Dwibedi et al. 2021, arXiv 2104.14548: added without a change of the program."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from histoscope.core.testing.objectives import Rehearsal, check_objective

HERE = Path(__file__).parent
NEAR = 1e-12
QUEUE = 24
TEMPERATURE = 0.3


@pytest.fixture(autouse=True)
def on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python finds the way and its entry point, as of an installed package."""
    monkeypatch.syspath_prepend(HERE)


def rehearsal() -> Rehearsal:
    """One on a small network in float64."""
    settings = {"width": 8, "hidden": 16, "queue": QUEUE, "temperature": TEMPERATURE}
    return Rehearsal("nnclr", settings)


def lists(named: dict[str, torch.Tensor], name: str) -> list[list[float]]:
    """The rows of one view."""
    return named[name][:, 0].tolist()


def dot(a: list[float], b: list[float]) -> float:
    """Similarity of two rows."""
    return sum(x * y for x, y in zip(a, b, strict=True))


def friend_of(row: list[float], image: int, memory: list[tuple[int, list[float]]]) -> list[float]:
    """Eq. 2 by a loop: the nearest of another image, else the row."""
    best, found = -math.inf, row
    for held, remembered in memory:
        if held not in (-1, image) and dot(row, remembered) > best:
            best, found = dot(row, remembered), remembered
    return found


def by_loops(objective: torch.nn.Module, projected, index: list[int]) -> float:
    """Eq. 3 by loops, half of each direction."""
    memory = list(
        zip(objective.queue.index.tolist(), objective.queue.features.tolist(), strict=True)
    )
    total = 0.0
    for one, other in (("first", "second"), ("second", "first")):
        own, predicted = lists(projected.answers, one), lists(projected.asks, other)
        for i, image in enumerate(index):
            friend = friend_of(own[i], image, memory)
            below = 0.0
            for k, against in enumerate(index):
                if k == i or against != image:
                    below += math.exp(dot(friend, predicted[k]) / TEMPERATURE)
            total -= dot(friend, predicted[i]) / TEMPERATURE - math.log(below)
    return total / (2 * len(index))


def test_keeps_the_contract() -> None:
    check_objective("nnclr")


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_loss_is_that_of_loops(steps: int) -> None:
    """Of an empty queue, of one that is partly full, and of one that has gone round."""
    ready = rehearsal()
    for number in range(steps):
        ready.step(number)
    projected, rows, draws, clock = ready.begin(steps)
    empty = int((ready.objective.queue.index == -1).sum())
    assert empty == max(QUEUE - steps * len(rows.index), 0)
    loss = ready.objective.loss(projected, rows, draws, clock).loss.detach()
    assert loss.dtype == torch.float64
    assert float(loss) == pytest.approx(
        by_loops(ready.objective, projected, rows.index.tolist()), rel=0, abs=NEAR
    )


def test_an_image_that_is_twice_in_the_batch_does_not_repel_itself() -> None:
    ready = rehearsal()
    ready.step(0)
    projected, rows, draws, clock = ready.begin(1)
    index = rows.index.clone()
    index[3] = index[0]
    loss = ready.objective.loss(projected, dataclasses.replace(rows, index=index), draws, clock)
    assert float(loss.loss.detach()) == pytest.approx(
        by_loops(ready.objective, projected, index.tolist()), rel=0, abs=NEAR
    )
    before = ready.objective.loss(projected, rows, draws, clock)
    assert float(loss.loss.detach()) != pytest.approx(float(before.loss.detach()), rel=0, abs=1e-6)


def plain(projected, temperature: float) -> float:
    """InfoNCE of predictions with the own other view, by PyTorch's cross-entropy."""
    right = torch.arange(len(projected.asks["first"]))
    halves = [
        F.cross_entropy(
            projected.answers[one][:, 0] @ projected.asks[other][:, 0].T / temperature, right
        )
        for one, other in (("first", "second"), ("second", "first"))
    ]
    return float(sum(halves).detach() / 2)


def test_without_memories_it_is_plain_infonce() -> None:
    ready = rehearsal()
    projected, rows, draws, clock = ready.begin(0)
    report = ready.objective.loss(projected, rows, draws, clock)
    assert float(report.loss.detach()) == pytest.approx(
        plain(projected, TEMPERATURE), rel=0, abs=NEAR
    )
    assert float(report.shown["nearest"]) == pytest.approx(1, rel=0, abs=NEAR)


def test_a_memory_of_the_own_image_is_no_neighbour() -> None:
    """Each image is in the queue, at no distance; what is taken is another's."""
    ready = rehearsal()
    projected, rows, draws, clock = ready.begin(0)
    own = projected.answers["first"][:, 0]
    ready.objective.queue.put(own, rows.index)
    found = ready.objective.nearest(own, rows.index)
    sim = (own @ own.T).fill_diagonal_(-math.inf)
    assert torch.equal(found, own[sim.argmax(dim=1)])
    report = ready.objective.loss(projected, rows, draws, clock)
    assert float(report.loss.detach()) != pytest.approx(
        plain(projected, TEMPERATURE), rel=0, abs=1e-6
    )


def test_the_queue_gets_the_first_view_and_goes_round() -> None:
    ready = rehearsal()
    seen = []
    for number in range(2):
        projected, rows, _, clock = ready.begin(number)
        ready.objective.after_step(projected, rows, clock)
        seen += zip(rows.index.tolist(), lists(projected.answers, "first"), strict=True)
    queue = ready.objective.queue
    held = zip(queue.index.tolist(), queue.features.tolist(), strict=True)
    assert sorted(held) == sorted(seen[-QUEUE:])


def test_it_learns() -> None:
    """The network moves, and every loss is a number."""
    ready = rehearsal()
    before = [p.detach().clone() for p in ready.objective.encoder.parameters()]
    losses = [ready.step(number) for number in range(8)]
    assert all(math.isfinite(loss) for loss in losses)
    after = ready.objective.encoder.parameters()
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
