"""Configuration of an optimiser, and its schedules."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from histoscope.core.config import Spec


class OptimiserSpec(Spec):
    """Optimiser with linear warm-up and cosine decay, stepped per optimiser step."""

    kind: Literal["adamw", "sgd", "lars"] = Field("adamw", description="the optimiser")
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd and lars")
    learning_rate: float = Field(1e-3, gt=0, description="at the end of warm-up")
    weight_decay: float = Field(1e-4, ge=0, description="on matrices only, never on 1-d parameters")
    last_weight_decay: float | None = Field(
        None, ge=0, description="half a cosine leads there from weight_decay; default: it stays"
    )
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps")
    clip: float | None = Field(
        None, gt=0, description="largest norm of the gradient of all parameters; default: none"
    )

    def rate_at(self, step: int, steps: int) -> float:
        """Learning rate of a step: linear warm-up to ``learning_rate``, half a cosine to 0."""
        warm = round(self.warmup * steps)
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        place = (step - warm) / max(1, steps - warm)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * place))

    def decay_at(self, step: int, steps: int) -> float:
        """Weight decay of a step: half a cosine from the first to the last."""
        if self.last_weight_decay is None:
            return self.weight_decay
        gone = 0.5 * (1 - math.cos(math.pi * step / steps))
        return self.weight_decay + gone * (self.last_weight_decay - self.weight_decay)
