"""Optimiser and schedule."""

from __future__ import annotations

import math
from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from histoscope.core.training.lars import Lars
from histoscope.core.training.spec import OptimiserSpec


def make_optimiser(module: nn.Module, spec: OptimiserSpec) -> Optimizer:
    """The optimiser; norms and biases (1-d parameters) get neither decay nor LARS's scale."""
    trained = [p for p in module.parameters() if p.requires_grad]
    matrices: dict[str, Any] = {
        "params": [p for p in trained if p.ndim > 1],
        "weight_decay": spec.weight_decay,
    }
    rest: dict[str, Any] = {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0}
    if spec.kind == "adamw":
        return AdamW([matrices, rest], lr=spec.learning_rate)
    if spec.kind == "sgd":
        return SGD([matrices, rest], lr=spec.learning_rate, momentum=spec.momentum)
    groups = [{**matrices, "adapt": True}, {**rest, "adapt": False}]
    return Lars(groups, lr=spec.learning_rate, momentum=spec.momentum)


def rate_at(step: int, steps: int, spec: OptimiserSpec) -> float:
    """Learning rate of a step: linear warm-up to ``learning_rate``, then half a cosine to 0."""
    warm = round(spec.warmup * steps)
    if step < warm:
        return spec.learning_rate * (step + 1) / warm
    place = (step - warm) / max(1, steps - warm)
    return spec.learning_rate * 0.5 * (1 + math.cos(math.pi * place))


def set_rate(optimiser: Optimizer, rate: float) -> None:
    """Give all groups one learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate
