"""What is drawn of a bank, and what a view loses to it."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from histoscope.core.losses.contrast import decoupled, infonce
from histoscope.core.losses.inter import inter_image, of_same_label, semi_hard


def drawn(*shape, seed=0):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def unit(*shape, seed=0):
    return normalize(drawn(*shape, seed=seed) - 0.5, dim=-1)


def test_every_other_image_of_the_group_is_drawn_and_never_the_own():
    labels = torch.tensor([2, 0, 2, 1, 2, 0, 2])
    for index, others in ((0, [2, 4, 6]), (4, [0, 2, 6]), (5, [1])):
        found = [
            of_same_label(labels, torch.tensor([index]), torch.tensor([number]))[0].item()
            for number in torch.linspace(0, 1 - 1e-9, 3 * len(others))
        ]
        assert found == [other for other in others for _ in range(3)]
    _, known = of_same_label(labels, torch.tensor([3, 0]), torch.tensor([0.5, 0.5]))
    assert known.tolist() == [False, True]


@pytest.mark.parametrize(("pool", "count"), [(12, 4), (12, 12), (30, 7), (30, 30), (5, 1)])
@pytest.mark.parametrize("number", [0.0, 0.37, 0.999])
def test_negatives_are_spread_over_the_nearest_of_other_groups(pool, count, number):
    cosines, barred = drawn(6, 30), drawn(6, 30, seed=1) < 0.3
    barred[0] = True
    barred[1] = True
    barred[1, 4] = False
    numbers = torch.full((6,), number, dtype=torch.float64)
    places, known = semi_hard(cosines, barred, pool, count, numbers)
    assert places.shape == known.shape == (6, count)
    for row in range(6):
        free = [column for column in range(30) if not barred[row, column]]
        near = sorted(free, key=lambda column: -cosines[row, column].item())[:pool]
        parts = [int((part + number) * len(near) / count) for part in range(count)]
        expected = {near[min(place, len(near) - 1)] for place in parts} if near else set()
        found = places[row][known[row]].tolist()
        assert len(found) == len(set(found)) == min(count, len(near))
        assert set(found) == expected


def test_each_of_the_nearest_is_as_probable():
    cosines, barred = drawn(1, 20), torch.zeros(1, 20, dtype=torch.bool)
    counts = torch.zeros(20)
    for number in (torch.arange(1000) + 0.5) / 1000:
        places, _ = semi_hard(cosines, barred, 15, 4, number[None])
        counts[places] += 1
    assert counts[counts > 0].tolist() == pytest.approx([4000 / 15] * 15, rel=0.02)


@pytest.mark.parametrize(("reduce", "below_too"), [(infonce, True), (decoupled, False)])
@pytest.mark.parametrize("ease", [0.5, 0.0])
def test_the_loss_is_its_formula(reduce, below_too, ease):
    anchor, bank = unit(4, 3), unit(9, 3, seed=1)
    positive = torch.tensor([8, 0, 1, 2])
    places = torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 0], [3, 4, 5]])
    known = torch.tensor([[True] * 3, [True, False, True], [True] * 3, [False] * 3])
    sim = inter_image(anchor, bank, positive, (places, known), ease)
    for row, found in enumerate(reduce(sim, 0.2).tolist()):
        pull = math.exp(((anchor[row] @ bank[positive[row]]).item() + ease) / 0.2)
        push = sum(
            math.exp((anchor[row] @ bank[place]).item() / 0.2)
            for place, there in zip(places[row], known[row], strict=True)
            if there
        )
        below = push + pull if below_too else push
        expected = math.log(below / pull) if push else 0.0
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)
