"""What a network says is kept to what a frozen one said of the same images."""

from __future__ import annotations

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
