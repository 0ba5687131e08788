"""Regression of one unit vector on another."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize


def unit(rows: Tensor) -> Tensor:
    """Rows at unit length over the last axis, in float32 or better."""
    return normalize(rows if rows.dtype == torch.float64 else rows.float(), dim=-1)


def regressed(asked: Tensor, target: Tensor) -> Tensor:
    """Rows of 2 - 2 cosine, the squared distance of unit vectors (Grill et al. 2020, eq. 2).

    Args:
        asked: (..., dim).
        target: (..., dim); without gradient it stays where it is.
    """
    asked, target = (
        rows if rows.dtype == torch.float64 else rows.float() for rows in (asked, target)
    )
    return 2 - 2 * cosine_similarity(asked, target, dim=-1)
