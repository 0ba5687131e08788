"""Optimisers against their formulas, and who gets decay."""

import pytest
import torch
from torch import nn

from histoscope.core.optim.groups import make_optimiser
from histoscope.core.optim.lars import Lars
from histoscope.core.optim.schedules import rate_at
from histoscope.core.optim.spec import OptimiserSpec


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_lars_is_its_formula_also_without_decay(decay):
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(3, 4, dtype=torch.float64))
    expected, held = weight.detach().clone(), torch.zeros(3, 4, dtype=torch.float64)
    optimiser = Lars([{"params": [weight], "weight_decay": decay}], lr=0.5, momentum=0.8, eta=0.01)
    for _ in range(4):
        grad = torch.randn(3, 4, dtype=torch.float64)
        weight.grad = grad.clone()
        size = sum(float(w) ** 2 for w in expected.flatten()) ** 0.5
        slope = sum(float(g) ** 2 for g in grad.flatten()) ** 0.5
        scale = 0.01 * size / (slope + decay * size)
        held = 0.8 * held + scale * (grad + decay * expected)
        expected = expected - 0.5 * held
        optimiser.step()
    assert torch.allclose(weight, expected, atol=1e-12)


def test_lars_takes_the_plain_step_where_a_norm_is_zero():
    weight = nn.Parameter(torch.zeros(2, 2))
    optimiser = Lars([{"params": [weight]}], lr=0.5)
    weight.grad = torch.ones(2, 2)
    optimiser.step()
    assert torch.equal(weight.detach(), torch.full((2, 2), -0.5))


@pytest.mark.parametrize("kind", ["adamw", "sgd", "lars"])
def test_norms_and_biases_are_neither_decayed_nor_scaled(kind):
    module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    spec = OptimiserSpec(kind=kind, weight_decay=0.5, learning_rate=0.1)
    optimiser = make_optimiser(module, spec)
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    for name, value in module.named_parameters():
        moved = not torch.equal(value.detach(), before[name])
        assert moved == (value.ndim > 1), name
    if kind == "lars":
        assert [group["adapt"] for group in optimiser.param_groups] == [True, False]


def test_the_rate_warms_up_and_ends_near_zero():
    spec = OptimiserSpec(learning_rate=2.0, warmup=0.1)
    rates = [rate_at(step, 100, spec) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9] == rates[10] == pytest.approx(2.0)
    assert sorted(rates[10:], reverse=True) == rates[10:]
    assert rates[-1] < 0.001
