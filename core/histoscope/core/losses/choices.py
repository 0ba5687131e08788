"""What may be changed about a contrast: temperature, row weights, consistency, false negatives."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

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

    Args:
        sim: with the own view as the only positive of a row.
        temperature: divides cosines.
    """
    logits = sim.logits.detach() / temperature
    barred = sim.without_positives()
    alone = barred.all(dim=1)
    others = logits.masked_fill(barred & ~alone[:, None], -torch.inf)
    share = (sim.over_positives(logits) - torch.logsumexp(others, dim=1)).exp()
    return (1 + share).masked_fill(alone, 1)


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


def false_negatives(
    sim: Similarities, count: int, threshold: float, support: Tensor | None = None
) -> Tensor:
    """Negatives that look like the image itself, bool, (rows, columns).

    Huynh et al. 2022, "Boosting Contrastive Self-Supervised Learning with False Negative
    Cancellation", section 3.2: the score of a candidate is the largest cosine to any view of the
    row's image; the top ``count`` above the threshold are false.

    Args:
        sim: cosines.
        count: k of the paper.
        threshold: t of the paper.
        support: further views of the row's image, at unit length, (rows, views, dim).
    """
    scores = torch.maximum(sim.logits.detach(), sim.of_partner().to(sim.logits.dtype))
    if support is not None:
        more = torch.einsum("rvd,cd->rvc", support.to(scores.dtype), sim.columns.to(scores.dtype))
        scores[:, sim.own :] = torch.maximum(scores[:, sim.own :], more.amax(1))
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


def mixtures(
    sim: Similarities, hardest: int, pairs: int, with_query: int, numbers: Tensor
) -> Similarities:
    """Add synthetic negatives, columns of one row only.

    Kalantidis et al. 2020, "Hard Negative Mixing for Contrastive Learning" (MoCHi), eq. 4 and 5:
    norm(a n_i + (1 - a) n_j) with a in (0, 1), and norm(b q + (1 - b) n_j) with b in (0, 1/2), of
    the ``hardest`` negatives of each row. No gradient passes through them. Where a row has fewer
    negatives, mixtures of what is none are left out.

    Args:
        sim: cosines; the first column of rows with columns of their own stays their positive.
        hardest: N of the paper, at most the shared columns.
        pairs, with_query: s and s' of the paper.
        numbers: what is drawn, (rows, 3, pairs + with_query), in [0, 1): i, j, a or b.
    """
    shared = sim.logits.detach()[:, sim.own :]
    shared = shared.masked_fill(sim.without_positives()[:, sim.own :], -torch.inf)
    count = min(hardest, shared.shape[1])
    cosines, places = shared.topk(count, dim=1)
    barred = cosines.isneginf()
    first = (numbers[:, 0] * count).long().clamp(max=count - 1)
    second = (numbers[:, 1] * (count - 1)).long().clamp(max=max(0, count - 2))
    second = (second + (second >= first)).clamp(max=count - 1)  # another one
    share = numbers[:, 2].to(sim.logits.dtype)[..., None]
    hard = sim.columns[places]  # (rows, count, dim)

    def of(which: Tensor) -> Tensor:
        return hard.gather(1, which[..., None].expand(-1, -1, hard.shape[2]))

    ours = sim.anchor.detach()[:, None]
    both = share[:, :pairs] * of(first[:, :pairs]) + (1 - share[:, :pairs]) * of(second[:, :pairs])
    half = share[:, pairs:] / 2
    near = half * ours + (1 - half) * of(second[:, pairs:])
    made = normalize(torch.cat([both, near], dim=1), dim=2)
    out = barred.gather(1, second)
    out[:, :pairs] |= barred.gather(1, first[:, :pairs])
    logits = torch.einsum("rd,rmd->rm", sim.anchor, made.to(sim.anchor.dtype))
    return replace(
        sim,
        logits=_beside(sim.logits, logits, sim.own),
        ignored=_beside(sim.ignored, out, sim.own),
        positive=None
        if sim.positive is None
        else _beside(sim.positive, torch.zeros_like(out), sim.own),
    )


def _beside(columns: Tensor, more: Tensor, own: int) -> Tensor:
    """Columns of one row only, then more of them, then shared ones."""
    return torch.cat([columns[:, :own], more, columns[:, own:]], dim=1)


def beside(sim: Similarities, views: Tensor, known: Tensor) -> Similarities:
    """Add views of other images that attract a row, columns of that row only.

    They repel nobody. The own view stays a positive.

    Args:
        sim: cosines.
        views: (rows, slots, dim).
        known: which slots hold one, bool, (rows, slots); the others are left out.
    """
    unit = normalize(views if views.dtype == torch.float64 else views.float(), dim=2)
    logits = torch.einsum("rd,rsd->rs", sim.anchor, unit.to(sim.anchor.dtype))
    return replace(
        sim,
        logits=_beside(sim.logits, logits, sim.own),
        ignored=_beside(sim.ignored, ~known, sim.own),
        positive=_beside(sim.with_positives(), known, sim.own),
    )


def spared(sim: Similarities, others: Tensor) -> Similarities:
    """Shared columns of images that show so nearly the same that they are no negatives.

    Args:
        sim: cosines, with the index of their columns.
        others: dataset index of such images of each row, (rows, most); negative: none.
    """
    assert sim.index is not None
    same = torch.zeros_like(sim.ignored[:, sim.own :])
    for slot in others.unbind(1):
        same |= (sim.index[None] == slot[:, None]) & (slot[:, None] >= 0)
    same &= ~sim.with_positives()[:, sim.own :]
    return replace(
        sim, ignored=torch.cat([sim.ignored[:, : sim.own], sim.ignored[:, sim.own :] | same], 1)
    )


def elsewhere(sim: Similarities, count: int, groups: Tensor, own: Tensor) -> Similarities:
    """The shared columns of other groups that are nearest to a row's other view attract, too.

    Dwibedi et al. 2021, "With a Little Help from My Friends", eq. 1, but for other groups only and
    beside the own view.

    Args:
        sim: cosines, with the index of their columns.
        count: columns of a row, at most.
        groups: of each dataset index, int64, (samples,).
        own: dataset index of each row, (rows,).
    """
    assert sim.index is not None
    theirs = groups[sim.index.clamp(min=0)]
    barred = sim.without_positives()[:, sim.own :] | (theirs[None] == groups[own][:, None])
    scores = sim.of_partner()[:, sim.own :].masked_fill(barred, -torch.inf)
    count = min(count, scores.shape[1])
    if not count:
        return sim
    least = scores.topk(count, dim=1).values[:, -1:]
    chosen = (scores >= least) & ~barred
    none = torch.zeros_like(sim.ignored[:, : sim.own])
    return replace(sim, positive=sim.with_positives() | torch.cat([none, chosen], 1))
