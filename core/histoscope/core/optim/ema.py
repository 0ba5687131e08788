"""Slow copies of a network."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


@torch.no_grad()
def move_towards(slow: Iterable[nn.Parameter], fast: Iterable[nn.Parameter], share: float) -> None:
    """Slow parameters <- (1 - share) · slow + share · fast, in order; buffers are left alone."""
    for one, other in zip(slow, fast, strict=True):
        one.lerp_(other.detach(), share)
