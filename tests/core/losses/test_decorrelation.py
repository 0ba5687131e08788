"""Barlow Twins' loss against loops and lightly."""

import math

import pytest
import torch

from histoscope.core.losses.decorrelation import EPSILON, cross_correlation, decorrelated


def pair(batch=6, dim=4, dtype=torch.float64):
    rng = torch.Generator().manual_seed(1)
    return tuple(torch.randn(batch, dim, generator=rng, dtype=dtype) for _ in range(2))


def by_loops(z1, z2, weight):
    """Zbontar et al. 2021, eq. 1 and 2, with batch norm's term under the root."""
    count, dim = z1.shape

    def standardised(z):
        out = z.tolist()
        for d in range(dim):
            column = [row[d] for row in out]
            mean = sum(column) / count
            variance = sum((x - mean) ** 2 for x in column) / count
            for row in out:
                row[d] = (row[d] - mean) / math.sqrt(variance + EPSILON)
        return out

    one, other = standardised(z1), standardised(z2)
    total = 0.0
    for i in range(dim):
        for j in range(dim):
            c = sum(one[b][i] * other[b][j] for b in range(count)) / count
            total += (1 - c) ** 2 if i == j else weight * c * c
    return total


@pytest.mark.parametrize("weight", [0.0, 0.005, 1.0])
def test_loss_is_its_formula(weight):
    z1, z2 = pair()
    expected = by_loops(z1, z2, weight)
    assert decorrelated(cross_correlation(z1, z2), weight).item() == pytest.approx(
        expected, rel=1e-12
    )


def test_it_equals_lightly():
    from lightly.loss import BarlowTwinsLoss

    z1, z2 = pair(64, 16, torch.float32)
    theirs = BarlowTwinsLoss(lambda_param=0.005)(z1, z2).item()
    assert decorrelated(cross_correlation(z1, z2), 0.005).item() == pytest.approx(theirs, rel=1e-5)


def test_the_same_views_lose_only_what_features_share():
    z, _ = pair(200, 3)
    assert decorrelated(cross_correlation(z, z), 0.0).item() == pytest.approx(0, abs=1e-8)
    assert cross_correlation(z, z).diagonal() == pytest.approx(torch.ones(3).double(), abs=1e-4)
