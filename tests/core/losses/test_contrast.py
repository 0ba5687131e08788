"""Contrastive losses against their formulas as loops, and against another implementation."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from histoscope.core.errors import UsageError
from histoscope.core.losses.contrast import decoupled, in_batch, infonce


def pair(batch=5, dim=7, dtype=torch.float64):
    rng = torch.Generator().manual_seed(3)
    return (torch.randn(batch, dim, generator=rng, dtype=dtype) for _ in range(2))


def by_loops(z1, z2, temperature, positive_below):
    """Chen et al. 2020, eq. 1, written out; DCL leaves the positive out of the denominator."""
    z = normalize(torch.cat([z1, z2]), dim=1).tolist()
    count, total = len(z1), 0.0
    for i in range(2 * count):
        j = (i + count) % (2 * count)
        similar = [sum(a * b for a, b in zip(z[i], row, strict=True)) / temperature for row in z]
        below = sum(
            math.exp(similar[k]) for k in range(2 * count) if k != i and (positive_below or k != j)
        )
        total += -math.log(math.exp(similar[j]) / below)
    return total / (2 * count)


@pytest.mark.parametrize("temperature", [0.1, 0.2, 1.0])
@pytest.mark.parametrize(("loss", "positive_below"), [(infonce, True), (decoupled, False)])
def test_loss_is_its_formula(temperature, loss, positive_below):
    z1, z2 = pair()
    ours = loss(in_batch(z1, z2), temperature).mean().item()
    assert ours == pytest.approx(by_loops(z1, z2, temperature, positive_below), rel=1e-12)


def test_infonce_equals_lightly():
    from lightly.loss import NTXentLoss

    z1, z2 = pair(dtype=torch.float32)
    theirs = NTXentLoss(temperature=0.2)(z1, z2).item()
    assert infonce(in_batch(z1, z2), 0.2).mean().item() == pytest.approx(theirs, rel=1e-6)


def test_decoupled_equals_lightly():
    from lightly.loss import DCLLoss

    z1, z2 = pair(dtype=torch.float32)
    theirs = DCLLoss(temperature=0.2)(z1, z2).item()
    assert decoupled(in_batch(z1, z2), 0.2).mean().item() == pytest.approx(theirs, rel=1e-6)


def test_one_pair_and_one_stranger_by_hand():
    z = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    # cosine 1 to the own view, 0 to both others: -log(e / (e + 2))
    expected = -math.log(math.e / (math.e + 2))
    assert infonce(in_batch(z, z), 1.0).mean().item() == pytest.approx(expected, rel=1e-12)
    # without the own view below the line: -1 + log 2
    found = decoupled(in_batch(z, z), 1.0).mean().item()
    assert found == pytest.approx(math.log(2) - 1, rel=1e-12)


def test_half_precision_is_computed_in_float32():
    z1, z2 = pair(dtype=torch.bfloat16)
    assert in_batch(z1, z2).logits.dtype == torch.float32


def test_a_batch_of_one_is_refused():
    z = torch.ones(1, 4)
    with pytest.raises(UsageError, match="at least 2"):
        in_batch(z, z)


@pytest.mark.parametrize("loss", [infonce, decoupled])
def test_gradient_is_that_of_finite_differences(loss):
    z1, z2 = pair(3, 4)
    z1.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(in_batch(z, z2), 0.5).mean(), (z1,))


@pytest.mark.parametrize("loss", [infonce, decoupled])
def test_a_temperature_may_be_learnt(loss):
    z1, z2 = pair()
    warm = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: loss(in_batch(z1, z2), t).mean(), warm)


def test_views_of_an_image_that_comes_twice_are_no_negatives():
    """Against loops over the columns that are of other images."""
    z1, z2 = pair(4)
    index = torch.tensor([7, 3, 7, 5])
    rows = infonce(in_batch(z1, z2, index), 0.5)
    z, of = normalize(torch.cat([z1, z2]), dim=1), [*index.tolist()] * 2
    for i in range(8):
        j = (i + 4) % 8
        below = sum(math.exp(z[i] @ z[k] / 0.5) for k in range(8) if k == j or of[k] != of[i])
        expected = -math.log(math.exp(z[i] @ z[j] / 0.5) / below)
        assert rows[i].item() == pytest.approx(expected, rel=1e-12)
    assert torch.equal(
        *(one.ignored for one in (in_batch(z1, z2, torch.arange(4)), in_batch(z1, z2)))
    )
