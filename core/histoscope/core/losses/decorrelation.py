"""Redundancy reduction: two views agree, and no two features say the same."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import batch_norm

EPSILON = 1e-5  # under the variance, as batch norm in the paper's code


def standardised(rows: Tensor) -> Tensor:
    """Each column less its mean, by its (biased) deviation over the batch; float32 or better."""
    rows = rows if rows.dtype == torch.float64 else rows.float()
    return batch_norm(rows, None, None, training=True, eps=EPSILON)


def cross_correlation(z1: Tensor, z2: Tensor) -> Tensor:
    """Correlation of each feature of one view with each of the other, (dim, dim).

    Args:
        z1, z2: projections of the whole batch, (batch, dim).
    """
    return standardised(z1).T @ standardised(z2) / len(z1)


def decorrelated(correlation: Tensor, weight: float) -> Tensor:
    """sum_i (1 - C_ii)^2 + weight sum_{i != j} C_ij^2 (Zbontar et al. 2021, eq. 1).

    Args:
        correlation: of the features of two views, (dim, dim).
        weight: lambda of the paper.
    """
    own = torch.diagonal(correlation)
    return (1 - own).square().sum() + weight * (correlation.square().sum() - own.square().sum())
