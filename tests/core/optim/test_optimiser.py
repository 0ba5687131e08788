"""Optimisers against their formulas, and who gets decay."""

import pytest
import torch
from torch import nn

from histoscope.core.optim.groups import make_optimiser
from histoscope.core.optim.schedules import rate_at
from histoscope.core.optim.spec import OptimiserSpec


def norm(values):
    return sum(float(value) ** 2 for value in values.flatten()) ** 0.5


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("start", ["drawn", "zero"])
def test_lars_is_its_formula_for_matrices_and_plain_momentum_for_the_rest(decay, start):
    """You et al. 2017, algorithm 1; where a norm is 0 the step is not scaled."""
    torch.manual_seed(0)
    module = nn.Linear(4, 3).double()
    if start == "zero":
        nn.init.zeros_(module.weight)
    spec = OptimiserSpec(kind="lars", weight_decay=decay, learning_rate=0.5, momentum=0.8)
    optimiser = make_optimiser(module, spec)
    expected = [parameter.detach().clone() for parameter in module.parameters()]
    held = [torch.zeros_like(parameter) for parameter in expected]
    for step in range(5):
        for place, parameter in enumerate(module.parameters()):
            grad = torch.randn_like(parameter) * (step != 2)
            parameter.grad = grad.clone()
            before = expected[place]
            if parameter.ndim > 1:
                size, slope = norm(before), norm(grad)
                scale = 0.001 * size / (slope + decay * size + 1e-8) if size * slope > 0 else 1
                grad = scale * (grad + decay * before)
            held[place] = 0.8 * held[place] + grad
            expected[place] = before - 0.5 * held[place]
        optimiser.step()
        for parameter, wanted in zip(module.parameters(), expected, strict=True):
            assert torch.allclose(parameter, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["adamw", "sgd", "lars"])
def test_norms_and_biases_are_not_decayed(kind):
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


def test_the_rate_warms_up_and_ends_near_zero():
    spec = OptimiserSpec(learning_rate=2.0, warmup=0.1)
    rates = [rate_at(step, 100, spec) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9] == rates[10] == pytest.approx(2.0)
    assert sorted(rates[10:], reverse=True) == rates[10:]
    assert rates[-1] < 0.001
