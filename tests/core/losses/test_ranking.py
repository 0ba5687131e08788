"""The likelihood of an order, against loops and cases solved by hand."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch

from histoscope.core.losses.ranking import plackett_luce, right_pairs

SCORES = torch.randn(7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
KNOWN = torch.arange(5) < torch.tensor([5, 4, 3, 2, 1, 5, 4])[:, None]


def by_loops(scores, known):
    there = [score for score, held in zip(scores, known, strict=True) if held]
    total = 0.0
    for place, score in enumerate(there):
        total -= score - math.log(sum(math.exp(other) for other in there[place:]))
    return total


def test_it_is_its_formula_in_loops():
    found = plackett_luce(SCORES, KNOWN).tolist()
    expected = [by_loops(*rows) for rows in zip(SCORES.tolist(), KNOWN.tolist(), strict=True)]
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_all_orders_together_are_certain():
    orders = torch.stack([SCORES[0, list(order)] for order in permutations(range(5))])
    likely = plackett_luce(orders, torch.ones_like(orders, dtype=torch.bool)).neg().exp()
    assert likely.sum().item() == pytest.approx(1, rel=1e-12)


def test_by_hand():
    one = torch.ones(1, 1, dtype=torch.bool)
    assert plackett_luce(torch.tensor([[3.7]]), one).item() == 0
    alike = plackett_luce(torch.zeros(1, 4), one.expand(1, 4)).item()
    assert alike == pytest.approx(math.log(24))
    two = plackett_luce(torch.tensor([[2.0, 1.0]], dtype=torch.float64), one.expand(1, 2)).item()
    assert two == pytest.approx(math.log(1 + math.exp(-1)), rel=1e-12)


def test_what_is_not_there_has_no_say_and_no_gradient():
    scores = SCORES.clone().requires_grad_()
    plackett_luce(scores, KNOWN).sum().backward()
    assert torch.isfinite(scores.grad).all()
    assert not scores.grad[~KNOWN].any()
    assert scores.grad[KNOWN][:-1].any()
    wild = torch.where(KNOWN, SCORES, 1e30)
    assert torch.equal(plackett_luce(wild, KNOWN), plackett_luce(SCORES, KNOWN))


def test_the_gradient_is_that_of_differences():
    few = (SCORES[:3].clone().requires_grad_(), KNOWN[:3])
    assert torch.autograd.gradcheck(plackett_luce, few)


def test_half_precision_is_summed_in_float32():
    assert plackett_luce(SCORES.bfloat16(), KNOWN).dtype == torch.float32


def test_pairs_the_right_way_round():
    scores = torch.tensor([[3.0, 1.0, 2.0], [1.0, 2.0, 9.0]])
    known = torch.tensor([[True, True, True], [True, True, False]])
    assert right_pairs(scores, known).item() == pytest.approx(2 / 4)
    assert right_pairs(scores, known & (torch.arange(3) < 1)).item() == 0
