"""How well scores put samples in the order in which they truly lie."""

from __future__ import annotations

import torch
from torch import Tensor


def plackett_luce(scores: Tensor, known: Tensor) -> Tensor:
    """Negative log-likelihood of the true order: -sum_r (f_r - log sum_{j >= r} exp f_j).

    Samples are drawn one after the other without replacement, each by the softmax of what is left
    (Plackett 1975, "The Analysis of Permutations"; Luce 1959). It is not divided by their number:
    of k samples whose scores are equal it is ln k!, of one it is 0.

    Args:
        scores: of each group's samples in their true order, (groups, samples).
        known: which of them there are, bool, (groups, samples); those before the others.

    Returns:
        Nats of each group, (groups,), in float32 or better.
    """
    scores = scores if scores.dtype == torch.float64 else scores.float()
    places = torch.arange(scores.shape[1], device=scores.device)
    left = (places >= places[:, None]) & known[:, None, :]
    left = left | (places == places[:, None])  # so that no row of what is not there is empty
    logits = scores[:, None, :].expand(-1, len(places), -1).masked_fill(~left, -torch.inf)
    return (logits.logsumexp(2) - scores).masked_fill(~known, 0).sum(1)


def right_pairs(scores: Tensor, known: Tensor) -> Tensor:
    """Share of pairs of one group whose earlier sample has the higher score, a scalar, 0 to 1.

    Args:
        scores, known: as of :func:`plackett_luce`.

    Returns:
        0 where there is no pair.
    """
    both = known[:, :, None] & known[:, None, :]
    both = both.triu(1)  # row before column
    right = (scores[:, :, None] > scores[:, None, :]) & both
    return right.sum() / both.sum().clamp(min=1)
