"""Tempered answers against the formula of their logits."""

import math

import pytest
import torch

from histoscope.core.losses.distillation import tempered


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0, 3.0])
def test_they_are_the_softmax_of_divided_logits(temperature):
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = tempered(logits.softmax(1), temperature)
    for row in range(5):
        powers = [math.exp(x / temperature) for x in logits[row].tolist()]
        expected = [power / sum(powers) for power in powers]
        assert found[row].tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("temperature", [1e-3, 1.0, 100.0])
def test_what_is_certain_stays_certain(temperature):
    certain = torch.eye(3)
    assert torch.equal(tempered(certain, temperature), certain)


def test_small_probabilities_are_no_numbers_out_of_range():
    rows = tempered(torch.tensor([[1e-30, 2e-30, 1.0], [1 / 3, 1 / 3, 1 / 3]]), 0.01)
    assert rows.isfinite().all()
    assert rows.sum(1).tolist() == pytest.approx([1, 1])
