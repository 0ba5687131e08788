"""Learning rates by step."""

from __future__ import annotations

import math

from torch.optim import Optimizer

from histoscope.core.optim.spec import OptimiserSpec


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
