"""Optimiser and schedule."""

from __future__ import annotations

import math

from torch import nn
from torch.optim import AdamW, Optimizer

from histoscope.core.training.spec import OptimiserSpec


def make_optimiser(module: nn.Module, spec: OptimiserSpec) -> AdamW:
    """AdamW; norms and biases (1-d parameters) carry no weight decay."""
    trained = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": spec.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=spec.learning_rate)


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
