"""Assignment to prototypes: even codes by Sinkhorn, and their prediction from other views."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import log_softmax


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float, rounds: int = 3) -> Tensor:
    """Codes of rows over prototypes, each row a distribution, all prototypes used alike.

    Caron et al. 2020 (SwAV), appendix A; in logarithms, which is the same and never overflows.

    Args:
        scores: cosines of the whole batch to the prototypes, (rows, prototypes).
        epsilon: smaller is sharper.
        rounds: of scaling prototypes, then rows.
    """
    logs = (scores if scores.dtype == torch.float64 else scores.float()) / epsilon
    rows, prototypes = logs.shape
    logs = logs - torch.logsumexp(logs.flatten(), dim=0)
    for _ in range(rounds):
        logs = logs - torch.logsumexp(logs, dim=0, keepdim=True) - math.log(prototypes)
        logs = logs - torch.logsumexp(logs, dim=1, keepdim=True) - math.log(rows)
    return (logs + math.log(rows)).exp()


def predicted(codes: Tensor, scores: Tensor, temperature: float) -> Tensor:
    """Rows of the cross-entropy of codes and the softmax of other scores.

    Args:
        codes: distributions, (rows, prototypes), without gradient.
        scores: before the temperature, (rows, prototypes).
        temperature: divides scores.
    """
    logits = scores if scores.dtype == torch.float64 else scores.float()
    return -(codes * log_softmax(logits / temperature, dim=1)).sum(1)
