"""LARS: SGD with momentum whose step is scaled for each matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer


class Lars(Optimizer):
    """You et al. 2017, "Large Batch Training of Convolutional Networks", algorithm 1.

    A group with ``adapt`` scales its step by eta · |w| / (|g| + decay · |w|), also where decay is
    0; where either norm is 0 the scale is 1. A group without it (1-d parameters) is plain SGD with
    momentum.

    Args:
        groups: parameter groups with ``adapt`` and ``weight_decay``.
        lr: learning rate, > 0.
        momentum: part of the last step that is kept.
        eta: trust coefficient.
    """

    def __init__(
        self, groups: list[dict[str, Any]], lr: float, momentum: float = 0.9, eta: float = 0.001
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "eta": eta, "weight_decay": 0.0, "adapt": True}
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step; ``closure`` is called first where given, with gradients on."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                step = weight.grad.add(weight, alpha=group["weight_decay"])
                if group["adapt"]:
                    size, slope = weight.norm(), weight.grad.norm()
                    scale = group["eta"] * size / (slope + group["weight_decay"] * size)
                    usable = (size > 0) & (slope > 0)
                    step.mul_(torch.where(usable, scale, torch.ones_like(scale)))
                state = self.state[weight]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                held = state["momentum_buffer"].mul_(group["momentum"]).add_(step)
                weight.sub_(held, alpha=group["lr"])
        return loss
