"""Configuration of an optimiser."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from histoscope.core.config import Spec


class OptimiserSpec(Spec):
    """Optimiser with linear warm-up and cosine decay, stepped per optimiser step."""

    kind: Literal["adamw", "sgd", "lars"] = Field("adamw", description="the optimiser")
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd and lars")
    learning_rate: float = Field(1e-3, gt=0, description="at the end of warm-up")
    weight_decay: float = Field(1e-4, ge=0, description="on matrices only, never on 1-d parameters")
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps")
