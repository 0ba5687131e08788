"""What may be changed about a contrast: temperature, row weights, consistency, false negatives."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from histoscope.core.losses.contrast import Similarities

COLDEST = 0.02  # below it exponents of float32 overflow


def alignment_temperature(
    sim: Similarities, initial: float, slope: float, threshold: float
) -> Tensor:
    """Initial (1 + slope (A - threshold)), A the mean cosine of positive views.

    Huang et al. 2022, "Model-Aware Contrastive Learning", eq. 9; no gradient passes. Never below
    0.02, where the paper's becomes negative for a slope near 1.

    Args:
        sim: of the whole batch.
        initial: temperature at the threshold.
        slope: alpha of the paper.
        threshold: A0 of the paper.
    """
    mean = sim.attraction().detach().mean()
    return (initial * (1 + slope * (mean - threshold))).clamp(min=COLDEST)


def reweighted(sim: Similarities, temperature: float | Tensor) -> Tensor:
    """Weights 1 / (1 - P) of rows, P the share of the positive view; without gradient, (rows,).

    Huang et al. 2022, eq. 10: rows weigh as if their gradient were that of the decoupled loss.
    1 where a row has no negative.
    """
    logits = (sim.logits.detach() / temperature).masked_fill(sim.ignored, -torch.inf)
    others = logits.masked_fill(sim.without_positives(), -torch.inf)
    alone = others.isneginf().all(dim=1)
    whole = torch.logsumexp(logits, dim=1)
    rest = torch.logsumexp(others.masked_fill(alone[:, None], 0), dim=1)
    return (whole - rest).exp().masked_fill(alone, 1)


def inconsistency(sim: Similarities, temperature: float) -> Tensor:
    """Half of KL(p || r) + KL(r || p) over negatives, (rows,).

    Wei et al. 2021, "CO2: Consistent Contrast", eq. 4 and 5: r are the softmax shares of a row's
    negatives, p those of its other view, without gradient. 0 where a row has none.

    Args:
        sim: cosines.
        temperature: of both softmaxes.
    """
    barred = sim.without_positives()
    alone = barred.all(dim=1, keepdim=True)
    shares = [
        (cosines / temperature)
        .masked_fill(barred, -torch.inf)
        .masked_fill(alone, 0)
        .log_softmax(dim=1)
        for cosines in (sim.logits, sim.of_partner().to(sim.logits.dtype))
    ]
    r, p = (share.masked_fill(barred, 0) for share in shares)
    kept = ~barred
    rows = 0.5 * ((p.exp() - r.exp()) * (p - r) * kept).sum(1)
    return rows.masked_fill(alone[:, 0], 0)


def false_negatives(sim: Similarities, count: int, threshold: float) -> Tensor:
    """Negatives that look like the image itself, bool, (rows, columns).

    Huynh et al. 2022, "Boosting Contrastive Self-Supervised Learning with False Negative
    Cancellation", section 3.2: the score of a candidate is the largest cosine to any view of the
    row's image; the top ``count`` above the threshold are false.

    Args:
        sim: cosines.
        count: k of the paper.
        threshold: t of the paper.
    """
    scores = torch.maximum(sim.logits.detach(), sim.of_partner().to(sim.logits.dtype))
    scores = scores.masked_fill(sim.without_positives(), -torch.inf)
    count = min(count, scores.shape[1])
    if not count:
        return torch.zeros_like(sim.ignored)
    least = scores.topk(count, dim=1).values[:, -1:]
    return (scores >= least) & (scores > threshold)


def eliminated(sim: Similarities, those: Tensor) -> Similarities:
    """Candidates that are neither positive nor negative any more."""
    return replace(sim, ignored=sim.ignored | those)


def attracted(sim: Similarities, those: Tensor) -> Similarities:
    """Candidates that attract beside the own view, and stay in the denominator."""
    return replace(sim, positive=sim.with_positives() | those)
