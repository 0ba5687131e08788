"""Each view against other images of a bank: one with its label, and some that are semi-hard."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from histoscope.core.losses.contrast import Own, Similarities

Reduce = Callable[[Similarities, float | Tensor], Tensor]


def of_same_label(labels: Tensor, index: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Another image with the label of each, drawn, (rows,), and whether there is one, bool.

    Args:
        labels: of all images, int64, (samples,).
        index: dataset index of each row, int64, (rows,).
        numbers: what is drawn, in [0, 1), (rows,).
    """
    order = labels.argsort(stable=True)
    places = torch.empty_like(order)
    places[order] = torch.arange(len(order), device=order.device)
    ordered, mine = labels[order], labels[index]
    first = torch.searchsorted(ordered, mine)
    others = torch.searchsorted(ordered, mine, right=True) - first - 1
    turn = (numbers.double() * others).long().clamp(max=others - 1).clamp(min=0)
    turn = turn + (turn >= places[index] - first)  # not itself
    return order[(first + turn).clamp(max=len(order) - 1)], others > 0


def semi_hard(
    cosines: Tensor, barred: Tensor, pool: int, count: int, numbers: Tensor
) -> tuple[Tensor, Tensor]:
    """Columns drawn evenly of the nearest of each row, (rows, count), and which there are, bool.

    The nearest are cut in ``count`` equal parts, in the order of their cosines, and one is taken
    of each, at the same place in all: each column is as probable, and none comes twice. Where
    fewer than ``count`` columns are not barred a row has those.

    Args:
        cosines: (rows, columns).
        barred: bool, which columns are none of a row, (rows, columns).
        pool: how many are nearest, at most the columns.
        count: that are drawn, at most the pool.
        numbers: what is drawn, in [0, 1), (rows,).
    """
    best = cosines.masked_fill(barred, -torch.inf).topk(pool, dim=1)
    held = (best.values > -torch.inf).sum(1, keepdim=True)
    steps = torch.arange(count, device=cosines.device) + numbers.double()[:, None]
    turn = (steps * held / count).long().clamp(max=held - 1)
    known = torch.cat([held > 0, turn[:, 1:] > turn[:, :-1]], 1)
    return best.indices.gather(1, turn.clamp(min=0)), known


def inter_image(
    anchor: Tensor,
    bank: Tensor,
    positive: Tensor,
    negatives: tuple[Tensor, Tensor],
    ease: float,
) -> Similarities:
    """Views against rows of a bank; the positive's cosine is eased.

    Xie et al. 2022, "Delving into Inter-Image Invariance for Unsupervised Visual Representations".
    Its cosine margin is negative: it is added to the positive's cosine, so that images which are
    only of one group need not come together.

    Args:
        anchor: views at unit length, (rows, dim), with their gradient.
        bank: at unit length, (samples, dim).
        positive: row of the bank that attracts each, int64, (rows,).
        negatives: rows that repel, int64, (rows, count), and which there are, bool.
        ease: added to the positive's cosine, >= 0.
    """
    places, known = negatives
    rows = bank.to(anchor.dtype)
    pull = (anchor * rows[positive]).sum(1, keepdim=True) + ease
    push = torch.einsum("rd,rnd->rn", anchor, rows[places])
    yes = torch.ones_like(pull, dtype=torch.bool)
    return Similarities(Own(pull, yes, yes), push, ~known, anchor, rows[:0], anchor.detach())
