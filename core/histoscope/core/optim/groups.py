"""Optimiser and schedule."""

from __future__ import annotations

from typing import Any

from timm.optim.lars import Lars
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from histoscope.core.optim.spec import OptimiserSpec


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
    # by itself timm's LARS (You et al. 2017) scales the groups with decay only
    groups = [{**matrices, "always_adapt": True}, rest]
    optimiser: Optimizer = Lars(groups, lr=spec.learning_rate, momentum=spec.momentum)
    return optimiser
