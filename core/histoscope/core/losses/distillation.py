"""What a network says is kept to what a frozen one said of the same images."""

from __future__ import annotations

import torch
from torch import Tensor

from histoscope.core.losses.regression import unit


def contrasted(asked: Tensor, target: Tensor, temperature: float) -> Tensor:
    """InfoNCE of each row with its target among all targets, and of each target among all rows.

    Fini et al. 2022 (CaSSLe), section 4, as in its code: all other rows repel, the other view of
    the same image among them.

    Args:
        asked: predictions, (rows, dim).
        target: what the frozen network says of the same views, (rows, dim).
        temperature: divides cosines.

    Returns:
        Mean over rows and both ways.
    """
    logits = unit(asked) @ unit(target).T / temperature
    others = logits.logsumexp(0) + logits.logsumexp(1)
    return (others / 2 - logits.diagonal()).mean()


@torch.no_grad()
def tempered(probabilities: Tensor, temperature: float) -> Tensor:
    """What a softmax would give of the same logits divided by a temperature.

    Chen et al. 2020 (SimCLRv2), eq. 2: exp(f_y / t) / sum of it, where only softmax(f) is known; a
    class of probability 0 stays there.

    Args:
        probabilities: rows that sum to 1, (rows, classes).
        temperature: above 1 evens them, below 1 sharpens them.
    """
    powers = (probabilities / probabilities.amax(1, keepdim=True)) ** (1 / temperature)
    return powers / powers.sum(1, keepdim=True)
