"""Regression of unit vectors against loops."""

import math

import pytest
import torch

from histoscope.core.losses.regression import regressed, unit


def test_it_is_the_squared_distance_of_unit_vectors():
    rng = torch.Generator().manual_seed(0)
    asked, target = (torch.randn(5, 7, generator=rng, dtype=torch.float64) for _ in range(2))
    found = regressed(asked, target)
    for row in range(5):
        a, b = asked[row].tolist(), target[row].tolist()
        long_a, long_b = (math.sqrt(sum(x * x for x in v)) for v in (a, b))
        expected = sum((x / long_a - y / long_b) ** 2 for x, y in zip(a, b, strict=True))
        assert found[row].item() == pytest.approx(expected, rel=1e-12)


def test_half_precision_is_computed_in_float32():
    assert unit(torch.ones(2, 3, dtype=torch.bfloat16)).dtype == torch.float32
    assert regressed(*torch.ones(2, 2, 3, dtype=torch.bfloat16)).dtype == torch.float32
