"""Optimisers against their formulas, and who gets decay."""

import pytest
import torch
from torch import nn

from histoscope.core.optim.groups import Group, descend, make_optimiser, usual_groups
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
    optimiser = make_optimiser(usual_groups(module), spec)
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
    optimiser = make_optimiser(usual_groups(module), spec)
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    for name, value in module.named_parameters():
        moved = not torch.equal(value.detach(), before[name])
        assert moved == (value.ndim > 1), name


def test_the_rate_warms_up_and_ends_near_zero():
    spec = OptimiserSpec(learning_rate=2.0, warmup=0.1)
    rates = [spec.rate_at(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9] == rates[10] == pytest.approx(2.0)
    assert sorted(rates[10:], reverse=True) == rates[10:]
    assert rates[-1] < 0.001


def test_groups_have_their_own_rate_decay_and_freeze():
    one, other = (nn.Parameter(torch.ones(2, 2, dtype=torch.float64)) for _ in range(2))
    spec = OptimiserSpec(kind="sgd", momentum=0, learning_rate=1.0, weight_decay=0.5, warmup=0)
    groups = [Group([one], rate=0.1), Group([other], decay=False, frozen_until=0.25)]
    optimiser = make_optimiser(groups, spec)
    for step in range(2):
        one.grad, other.grad = torch.full_like(one, 2.0), torch.full_like(other, 2.0)
        rate = descend(optimiser, spec, step, 4)
        if step == 0:
            assert rate == 1.0
            assert torch.equal(one, torch.full_like(one, 1 - 0.1 * (2.0 + 0.5)))
            assert torch.equal(other, torch.ones_like(other))  # a quarter of the run has not passed
    assert torch.allclose(other, 1 - spec.rate_at(1, 4) * torch.full_like(other, 2.0))


def test_decay_goes_its_half_cosine_and_gradients_are_clipped():
    spec = OptimiserSpec(
        kind="sgd", momentum=0, weight_decay=0.1, last_weight_decay=0.5, warmup=0, clip=1.0
    )
    assert spec.decay_at(0, 10) == pytest.approx(0.1)
    assert spec.decay_at(5, 10) == pytest.approx(0.3)
    assert spec.decay_at(10, 10) == pytest.approx(0.5)
    assert OptimiserSpec(weight_decay=0.1).decay_at(5, 10) == 0.1
    parameter = nn.Parameter(torch.zeros(2, 2))
    optimiser = make_optimiser([Group([parameter])], spec)
    parameter.grad = torch.full_like(parameter, 100.0)
    descend(optimiser, spec, 0, 10)
    assert optimiser.param_groups[0]["weight_decay"] == pytest.approx(0.1)
    assert norm(parameter.detach()) == pytest.approx(spec.learning_rate, rel=1e-4)
