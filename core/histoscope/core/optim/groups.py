"""Groups of parameters, and the optimiser that moves them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from timm.optim.lars import Lars
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from histoscope.core.optim.spec import OptimiserSpec


@dataclass(frozen=True)
class Group:
    """Parameters that are moved alike.

    Attributes:
        parameters: of the group.
        decay: whether they are decayed.
        adapt: whether LARS scales their steps.
        rate: factor on the learning rate.
        frozen_until: share of the run before which they stay as they are.
    """

    parameters: Sequence[nn.Parameter]
    decay: bool = True
    adapt: bool = True
    rate: float = 1.0
    frozen_until: float = 0.0


def usual_groups(module: nn.Module, *, rate: float = 1.0, frozen_until: float = 0.0) -> list[Group]:
    """Matrices; then norms and biases (1-d parameters), without decay or LARS's scale."""
    trained = [p for p in module.parameters() if p.requires_grad]
    return [
        Group([p for p in trained if p.ndim > 1], rate=rate, frozen_until=frozen_until),
        Group([p for p in trained if p.ndim <= 1], False, False, rate, frozen_until),
    ]


def make_optimiser(groups: Iterable[Group], spec: OptimiserSpec) -> Optimizer:
    """The optimiser of these groups; :func:`set_rates` gives them the rates of a step."""
    groups = list(groups)
    bodies: list[dict[str, Any]] = [
        {
            "params": list(group.parameters),
            "weight_decay": spec.weight_decay if group.decay else 0.0,
            "decays": group.decay,
            "rate": group.rate,
            "frozen_until": group.frozen_until,
        }
        for group in groups
    ]
    if spec.kind == "adamw":
        return AdamW(bodies, lr=spec.learning_rate)
    if spec.kind == "sgd":
        return SGD(bodies, lr=spec.learning_rate, momentum=spec.momentum)
    # by itself timm's LARS (You et al. 2017) scales the groups with decay only
    for body, group in zip(bodies, groups, strict=True):
        if group.adapt:
            body["always_adapt"] = True
    optimiser: Optimizer = Lars(bodies, lr=spec.learning_rate, momentum=spec.momentum)
    return optimiser


def descend(optimiser: Optimizer, spec: OptimiserSpec, step: int, steps: int) -> float:
    """One step of an optimiser on the gradients that are there: clipped, at the step's rates.

    Args:
        optimiser: of :func:`make_optimiser`.
        spec: its settings.
        step: number of the step, from 0.
        steps: of the whole run.

    Returns:
        The learning rate.
    """
    rate, decay = spec.rate_at(step, steps), spec.decay_at(step, steps)
    for group in optimiser.param_groups:
        group["lr"] = rate * group["rate"]
        group["weight_decay"] = decay if group["decays"] else 0.0
        if step < group["frozen_until"] * steps:
            for parameter in group["params"]:
                parameter.grad = None
    if spec.clip is not None:
        moved = [p for group in optimiser.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(moved, spec.clip)
    optimiser.step()
    return rate
