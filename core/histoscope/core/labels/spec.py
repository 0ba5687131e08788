"""Configuration of fine-tuning."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from histoscope.core.config import Spec
from histoscope.core.labels.draws import DrawBy


class FullSpec(Spec):
    """Full fine-tuning: a constant number of steps, whatever the number of labels."""

    steps: int = Field(60, ge=1, description="optimiser steps")
    batch_size: int = Field(64, ge=2, description="images a step, at most the labels of the draw")
    learning_rate: float = Field(1e-4, gt=0, description="AdamW, cosine to 0")
    weight_decay: float = Field(1e-4, ge=0, description="on matrices")


class FinetuneSpec(Spec):
    """From few labels to a model package."""

    method: Literal["probe", "full"] = Field("probe", description="linear probe, or all weights")
    fraction: float = Field(0.01, gt=0, le=1, description="share of the labels that a draw sees")
    draws: int = Field(5, ge=1, description="how many draws; predict uses the first")
    draw_by: DrawBy = Field("sample", description="what is drawn")
    seed: int = Field(0, ge=0, description="of the draws, and of random:NAME")
    strength: float = Field(1.0, gt=0, description="C of the probe's logistic regression")
    full: FullSpec = Field(FullSpec(), description="used by --method full")
