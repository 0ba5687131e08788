"""KoLeo, which is lightly's, against loops."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from histoscope.core.losses.spread import crowding

EPSILON = 1e-8  # added to each difference, and to the distance


def test_it_is_its_formula():
    rows = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points = normalize(rows, dim=1).tolist()
    total = 0.0
    for i, one in enumerate(points):
        moved = [value + EPSILON for value in one]
        nearest = min(math.dist(moved, other) for j, other in enumerate(points) if j != i)
        total -= math.log(nearest + EPSILON)
    assert crowding(rows).item() == pytest.approx(total / 6, rel=1e-12)


def test_it_pushes_the_nearest_away():
    rows = torch.tensor([[1.0, 0.1], [1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    crowding(rows).backward()
    assert rows.grad[0, 1] < 0  # a step down the gradient leads away from its neighbour


def test_it_is_computed_in_float32_at_least():
    rows = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert crowding(rows).dtype == torch.float32
    assert crowding(rows) == crowding(rows.float())
