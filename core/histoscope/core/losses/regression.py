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


def to_neighbours(
    asked: Tensor, target: Tensor, columns: Tensor, cosines: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Rows of the mean of 2 - 2 cosine to a target and its nearest, and of how many, (rows,) both.

    Koohpayegani et al. 2021, eq. 1. Where there are fewer columns, the mean is over those.

    Args:
        asked: at unit length, (rows, dim).
        target: what looks for neighbours, its own first, at unit length, (rows, dim).
        columns: who may be one, at unit length, (columns, dim).
        cosines: of targets and columns, -inf where one is none of a row, (rows, columns).
        count: neighbours, the target among them.
    """
    values, places = cosines.topk(min(count - 1, len(columns)), dim=1)
    nearest = torch.cat([target[:, None], columns[places]], 1)
    there = torch.ones(len(target), 1, dtype=torch.bool, device=target.device)
    known = torch.cat([there, values > -torch.inf], 1)
    away = 2 - 2 * torch.einsum("bd,bkd->bk", asked, nearest)
    held = known.sum(1)
    return away.masked_fill(~known, 0).sum(1) / held, held
