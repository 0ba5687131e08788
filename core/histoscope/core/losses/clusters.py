"""Assignment to prototypes: even codes by Sinkhorn, and their prediction from other views."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import log_softmax


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float, rounds: int = 3) -> Tensor:
    """Codes of rows over prototypes, each row a distribution, all prototypes used alike.

    Caron et al. 2020 (SwAV), appendix A. The first round in logarithms, which is the same and never
    overflows; later ones scale rows and columns without writing the codes anew.

    Args:
        scores: cosines of the whole batch to the prototypes, (rows, prototypes).
        epsilon: smaller is sharper.
        rounds: of scaling prototypes, then rows.
    """
    logs = (scores if scores.dtype == torch.float64 else scores.float()) / epsilon
    codes = (logs - torch.logsumexp(logs, dim=0)).softmax(dim=1)  # from here on sums are above 0
    rows, prototypes = codes.shape
    by_row = codes.new_full((rows,), 1 / rows)
    by_prototype = codes.new_ones(prototypes)
    for _ in range(rounds - 1):
        by_prototype = 1 / (prototypes * (by_row @ codes))
        by_row = 1 / (rows * (codes @ by_prototype))
    return codes * (rows * by_row)[:, None] * by_prototype


def across(targets: Tensor, scores: Tensor, temperature: float) -> Tensor:
    """Mean over pairs of a view that is a target and another of the rows' cross-entropy.

    Args:
        targets: distributions of the first views, (rows, targets, prototypes), without gradient.
        scores: of all views, before the temperature, (rows, views, prototypes).
        temperature: divides scores.
    """
    count, views = targets.shape[1], scores.shape[1]
    parts = []
    for view, asked in enumerate(scores.unbind(1)):
        others = [target for place, target in enumerate(targets.unbind(1)) if place != view]
        parts.append(predicted(torch.stack(others).sum(0), asked, temperature).mean())
    return torch.stack(parts).sum() / (count * (views - 1))


def predicted(codes: Tensor, scores: Tensor, temperature: float) -> Tensor:
    """Rows of the cross-entropy of codes and the softmax of other scores.

    Args:
        codes: distributions, or sums of some, (rows, prototypes), without gradient.
        scores: before the temperature, (rows, prototypes).
        temperature: divides scores.
    """
    logits = scores if scores.dtype == torch.float64 else scores.float()
    return -(codes * log_softmax(logits / temperature, dim=1)).sum(1)
