"""What may be changed about a contrast: temperature, row weights, consistency, false negatives."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from histoscope.core.losses.contrast import NONE, Own, Similarities, odds

COLDEST = 0.02  # below it exponents of float32 overflow


def alignment_temperature(
    agreement: Tensor, initial: float, slope: float, threshold: float
) -> Tensor:
    """Initial (1 + slope (A - threshold)), A the mean cosine of positive views.

    Huang et al. 2022, "Model-Aware Contrastive Learning", eq. 9; no gradient passes. Never below
    0.02, where the paper's becomes negative for a slope near 1.

    Args:
        agreement: A, of the whole batch and all directions.
        initial: temperature at the threshold.
        slope: alpha of the paper.
        threshold: A0 of the paper.
    """
    return (initial * (1 + slope * (agreement.detach() - threshold))).clamp(min=COLDEST)


def reweighted(sim: Similarities, temperature: float | Tensor) -> Tensor:
    """Weights 1 / (1 - P) of rows, P the share of the own view; without gradient, (rows,).

    Huang et al. 2022, eq. 10: rows weigh as if their gradient were that of the decoupled loss.
    1 where a row has no negative.

    Args:
        sim: with the own view as the only positive of a row.
        temperature: divides cosines.
    """
    return _weights(odds(sim, temperature).detach())


def weighted(sim: Similarities, temperature: float | Tensor) -> Tensor:
    """Rows of InfoNCE times :func:`reweighted`, (rows,), of one sum over columns."""
    less = odds(sim, temperature)
    return torch.logaddexp(less, torch.zeros_like(less)) * _weights(less.detach())


def _weights(less: Tensor) -> Tensor:
    return (1 + (-less).exp()).masked_fill(less < NONE, 1)


def inconsistency(sim: Similarities, temperature: float) -> Tensor:
    """Half of KL(p || r) + KL(r || p) over negatives, (rows,).

    Wei et al. 2021, "CO2: Consistent Contrast", eq. 4 and 5: r are the softmax shares of a row's
    negatives, p those of its other view, without gradient. 0 where a row has none. Columns of one
    row only are left out: the other view has others.

    Args:
        sim: cosines.
        temperature: of both softmaxes.
    """
    low = torch.finfo(sim.logits.dtype).min / 4
    r, p = (
        (cosines / temperature).masked_fill_(sim.ignored, low).log_softmax(dim=1)
        for cosines in (sim.logits, sim.of_partner())
    )
    return 0.5 * ((p.exp() - r.exp()) * (p - r)).masked_fill_(sim.ignored, 0).sum(1)


def divergence(sim: Similarities, temperature: float | Tensor) -> Tensor:
    """KL(p || r) over the own view and the negatives, (rows,).

    Tomasev et al. 2022, "Pushing the limits of self-supervised ResNets" (ReLICv2), the invariance
    term, after Mitrovic et al. 2021 (ReLIC), eq. 3: r are the shares of a row, those that its
    contrast knows; p those of its other view, without gradient. Differs: both see the same
    negatives, where p in the paper sees the views of these that ask, so that it is the same for any
    base. What else is a row's own is left out: the other view has others.

    Args:
        sim: cosines.
        temperature: of the contrast.
    """
    low, own = torch.finfo(sim.logits.dtype).min / 4, sim.own.logits[:, :1]
    ignored = torch.cat([torch.zeros_like(sim.ignored[:, :1]), sim.ignored], 1)
    r, p = (
        (torch.cat([pair, cosines], 1) / temperature).masked_fill(ignored, low).log_softmax(dim=1)
        for pair, cosines in ((own, sim.logits), (own.detach(), sim.of_partner()))
    )
    return (p.exp() * (p - r)).masked_fill(ignored, 0).sum(1)


def drawn(sim: Similarities, count: int, numbers: Tensor) -> Similarities:
    """A few shared columns, drawn of those that repel a row, are all that repel it.

    Those are cut in ``count`` equal parts, in the order of the batch, and one is taken of each, at
    the same place in all: each is as probable, and none comes twice. What opposes a row stays.

    Args:
        sim: cosines.
        count: that are drawn; where a row has fewer it keeps those.
        numbers: what is drawn, in [0, 1), (rows,).
    """
    places = (~sim.ignored).cumsum(1)  # of each that repels, from 1
    held = places[:, -1:]
    steps = torch.arange(count, device=held.device) + numbers.double()[:, None]
    turn = (steps * held / count).long().clamp(max=held - 1)
    found = torch.searchsorted(places, turn + 1).clamp(max=places.shape[1] - 1)
    kept = torch.zeros_like(sim.ignored).scatter_(1, found, torch.ones_like(found).bool())
    return replace(sim, ignored=sim.ignored | ~kept)


def false_negatives(
    sim: Similarities, count: int, threshold: float, support: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Shared negatives that look like the image itself: (rows, count), and which there are, bool.

    Huynh et al. 2022, "Boosting Contrastive Self-Supervised Learning with False Negative
    Cancellation", section 3.2: the score of a candidate is the largest cosine to any view of the
    row's image; the top ``count`` above the threshold are false.

    Args:
        sim: cosines.
        count: k of the paper.
        threshold: t of the paper.
        support: further views of the row's image, at unit length, (rows, views, dim).
    """
    scores = torch.maximum(sim.logits.detach(), sim.of_partner())
    for view in () if support is None else support.to(scores.dtype).unbind(1):
        scores = torch.maximum(scores, view @ sim.columns.T.to(scores.dtype))
    return _nearest(scores, sim.ignored, count, threshold)


def _nearest(
    scores: Tensor, barred: Tensor, count: int, threshold: float = -math.inf
) -> tuple[Tensor, Tensor]:
    """Columns with the highest scores, (rows, count), and which of them are above the threshold."""
    best = scores.masked_fill(barred, -torch.inf).topk(min(count, scores.shape[1]), dim=1)
    return best.indices, best.values > threshold


def eliminated(sim: Similarities, places: Tensor, known: Tensor) -> Similarities:
    """Shared columns, (rows, count), that are no negatives any more, as far as ``known``."""
    return sim.without(torch.zeros_like(sim.ignored).scatter_(1, places, known))


def attracted(sim: Similarities, places: Tensor, known: Tensor) -> Similarities:
    """Shared columns that attract beside the own view, and stay in the denominator."""
    own = sim.own.with_columns(sim.logits.gather(1, places), known, attract=True)
    return eliminated(replace(sim, own=own), places, known)


def mixtures(
    sim: Similarities, hardest: int, pairs: int, with_query: int, numbers: Tensor
) -> Similarities:
    """Add synthetic negatives, columns of one row only.

    Kalantidis et al. 2020, "Hard Negative Mixing for Contrastive Learning" (MoCHi), eq. 4 and 5:
    norm(a n_i + (1 - a) n_j) with a in (0, 1), and norm(b q + (1 - b) n_j) with b in (0, 1/2), of
    the ``hardest`` negatives of each row. No gradient passes through them. Where a row has fewer
    negatives, mixtures of what is none are left out.

    Args:
        sim: cosines.
        hardest: N of the paper, at most the shared columns.
        pairs, with_query: s and s' of the paper.
        numbers: what is drawn, (rows, 3, pairs + with_query), in [0, 1): i, j, a or b.
    """
    count = min(hardest, sim.logits.shape[1])
    places, known = _nearest(sim.logits.detach(), sim.ignored, count)
    first = (numbers[:, 0] * count).long().clamp(max=count - 1)
    second = (numbers[:, 1] * (count - 1)).long().clamp(max=max(0, count - 2))
    second = (second + (second >= first)).clamp(max=count - 1)  # another one
    share = numbers[:, 2].to(sim.logits.dtype)[..., None]

    def of(which: Tensor) -> Tensor:
        return sim.columns[places.gather(1, which)]  # (rows, mixtures, dim)

    ours = sim.anchor.detach()[:, None]
    both = torch.lerp(of(second[:, :pairs]), of(first[:, :pairs]), share[:, :pairs])
    near = torch.lerp(of(second[:, pairs:]), ours, share[:, pairs:] / 2)
    made = normalize(torch.cat([both, near], dim=1), dim=2).to(sim.anchor.dtype)
    both_known = known.gather(1, second)
    both_known[:, :pairs] &= known.gather(1, first[:, :pairs])
    logits = torch.einsum("rd,rmd->rm", sim.anchor, made)
    return replace(sim, own=sim.own.with_columns(logits, both_known, attract=False))


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
    return replace(sim, own=sim.own.with_columns(logits, known, attract=True))


def opposed(sim: Similarities, views: Tensor, known: Tensor, index: Tensor) -> Similarities:
    """Add views that repel a row, columns of that row only: other subjects before its background.

    Ryali et al. 2021, section 3 (BG Swaps). What leaves out images leaves these out, too; they are
    mixed with nothing, and consistency knows none of them.

    Args:
        sim: cosines.
        views: (rows, slots, dim).
        known: which slots hold one, bool, (rows, slots).
        index: dataset index of their subjects, int64, (rows, slots).
    """
    more = beside(sim, views, known)
    own = replace(
        more.own,
        positive=torch.cat([sim.own.positive, torch.zeros_like(known)], 1),
        matched=index,
    )
    return replace(sim, own=own)


def spared(sim: Similarities, others: Tensor) -> Similarities:
    """Shared columns of images that show so nearly the same that they are no negatives.

    Args:
        sim: cosines, with the index of their columns.
        others: dataset index of such images of each row, (rows, most); negative: none.
    """
    assert sim.index is not None
    same = torch.zeros_like(sim.ignored)
    for slot in others.unbind(1):
        same |= (sim.index[None] == slot[:, None]) & (slot[:, None] >= 0)
    left = sim.without(same)
    if sim.own.matched is None:
        return left
    theirs = sim.own.matched[:, :, None] == others[:, None]  # of images elsewhere in the data set
    return replace(left, own=left.own.released(theirs.any(2)))


def apart(sim: Similarities, mine: Tensor, theirs: Tensor, of_matched: Tensor) -> Similarities:
    """Shared columns of images with a row's own label are no negatives, nor is what is matched.

    Chen et al. 2022, "Incremental False Negative Detection for Contrastive Learning", elimination.

    Args:
        sim: cosines.
        mine: label of each row, int64, (rows,); negative: it has none.
        theirs: of each shared column, (shared,).
        of_matched: of each matched column of each row, (rows, matched).
    """
    known = (mine >= 0)[:, None]
    left = sim.without((mine[:, None] == theirs[None]) & known)
    if sim.own.matched is None:
        return left
    return replace(left, own=left.own.released((of_matched == mine[:, None]) & known))


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
    barred = sim.ignored | (theirs[None] == groups[own][:, None])
    return attracted(sim, *_nearest(sim.of_partner(), barred, count))


def to_nearest(sim: Similarities, cosines: Tensor, count: int) -> tuple[Similarities, Tensor]:
    """The shared columns that are nearest by other cosines alone attract; the rest repels.

    Van Gansbeke et al. 2021, "Revisiting Contrastive Methods for Unsupervised Learning of Visual
    Representations", the auxiliary loss; as in its code neither the own view nor anything else that
    is a row's own stands among the columns. Differs: what a row ignores, as older views of its own
    image, is no neighbour.

    Args:
        sim: cosines, by which columns attract and repel.
        cosines: those by which they are near, (rows, shared), without gradient.
        count: how many attract, at most.

    Returns:
        What is to be reduced, and bool, (rows,): where anything attracts.
    """
    places, known = _nearest(cosines, sim.ignored, count)
    own = Own(sim.logits.gather(1, places), known, torch.ones_like(known))
    return eliminated(replace(sim, own=own), places, known), known.any(1)
