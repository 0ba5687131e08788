"""The currency of contrastive objectives: cosines with what each column is to each row.

Formulas are means over rows of -log p(positive), with the softmax in float32 or better.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from histoscope.core.errors import UsageError


@dataclass(frozen=True)
class Similarities:
    """Rows are queries, columns are candidates.

    Attributes:
        logits: cosines before temperature, float32 or better, (rows, columns).
        ignored: bool, disjoint from ``positive``: in neither numerator nor denominator.
        anchor: what asks, at unit length, (rows, dim), with its gradient.
        columns: what shared columns hold, at unit length, (shared, dim), without gradient; the
            columns before them belong to one row only.
        partner: of each row its other view, at unit length, (rows, dim), without gradient.
        positive: bool, (rows, columns); None: the first column, which holds each row's own.
        index: dataset index of each shared column, int64, (shared,); -1: nobody's; None: unknown.
    """

    logits: Tensor
    ignored: Tensor
    anchor: Tensor
    columns: Tensor
    partner: Tensor
    positive: Tensor | None = None
    index: Tensor | None = None

    @property
    def own(self) -> int:
        """How many columns belong to one row only."""
        return self.logits.shape[1] - len(self.columns)

    def of_partner(self) -> Tensor:
        """Cosines of each row's other view with the columns, those of one row only 1."""
        shared = self.partner @ self.columns.T
        return torch.cat([shared.new_ones(len(shared), self.own), shared], dim=1)

    def with_positives(self) -> Tensor:
        """Which columns attract, bool, (rows, columns)."""
        if self.positive is not None:
            return self.positive
        out = torch.zeros_like(self.ignored)
        out[:, 0] = True
        return out

    def attraction(self) -> Tensor:
        """Mean over the positives of each row of its cosine, (rows,)."""
        return self.logits[:, 0] if self.positive is None else self.over_positives(self.logits)

    def over_positives(self, values: Tensor) -> Tensor:
        """Mean over the positives of each row, of (rows, columns), (rows,)."""
        if self.positive is None:
            return values[:, 0].contiguous()  # a mean over it sums in the order of rows
        return values.masked_fill(~self.positive, 0).sum(1) / self.positive.sum(1)

    def without_positives(self) -> Tensor:
        """Which columns are no negatives, bool, (rows, columns)."""
        if self.positive is not None:
            return self.ignored | self.positive
        out = self.ignored.clone()
        out[:, 0] = True
        return out


def in_batch(z1: Tensor, z2: Tensor, index: Tensor | None = None) -> Similarities:
    """All 2·batch projections against all; self is ignored, the other view is the positive.

    Args:
        z1, z2: projections, (batch, dim); row i of both comes from the same image.
        index: dataset index of each, int64, (batch,): where an image comes twice in a batch, its
            other views are ignored, too. None: each comes once.

    Raises:
        UsageError: batch < 2, a row would have no negative.
    """
    count = len(z1)
    if count < 2:
        raise UsageError("in-batch negatives need at least 2 images a batch")
    z = _unit(torch.cat([z1, z2]))
    place = torch.arange(2 * count, device=z.device)
    other = (place + count) % (2 * count)
    positive = other[:, None] == place[None]
    of = place % count if index is None else index.repeat(2)
    ignored = (of[:, None] == of[None]) & ~positive
    columns, whose = z.detach(), None if index is None else index.repeat(2)
    return Similarities(z @ z.T, ignored, z, columns, columns[other], positive, whose)


def against_queue(q: Tensor, k: Tensor, own: Tensor, keys: Tensor, index: Tensor) -> Similarities:
    """Each query against its own key (column 0) and the rows of a queue.

    Rows of the queue that hold nothing yet (index -1), or an older key of the query's own image,
    are ignored.

    Args:
        q: queries, (batch, dim).
        k: keys of the same images, (batch, dim), without gradient.
        own: dataset index of each query, int64, (batch,).
        keys: the queue, (rows, dim), without gradient.
        index: dataset index of each row of it, int64, (rows,).

    Source: He et al. 2020, algorithm 1. Differs: own images in the queue are no negatives.
    """
    q, k, keys = (_unit(part) for part in (q, k, keys))
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ keys.T], dim=1)
    first = torch.zeros(len(q), 1, dtype=torch.bool, device=q.device)
    ignored = (index[None] == own[:, None]) | (index[None] < 0)
    barred = torch.cat([first, ignored], dim=1)
    return Similarities(logits, barred, q, keys.detach(), k.detach(), index=index)


def _unit(rows: Tensor) -> Tensor:
    return normalize(rows if rows.dtype == torch.float64 else rows.float(), dim=1)


def infonce(sim: Similarities, temperature: float | Tensor) -> Tensor:
    """Rows of -mean over positives of log softmax over all columns that are not ignored.

    0 where a row has no negative. Source: van den Oord et al. 2018, eq. 4, with temperature as in
    Chen et al. 2020, eq. 1.
    """
    logits = (sim.logits / temperature).masked_fill(sim.ignored, -torch.inf)
    return torch.logsumexp(logits, dim=1) - sim.over_positives(logits)


def decoupled(sim: Similarities, temperature: float | Tensor) -> Tensor:
    """As :func:`infonce`, but positives do not stand in the denominator.

    Source: Yeh et al. 2021, "Decoupled Contrastive Learning", eq. 5 (DCL, without weights).
    """
    logits, left_out = sim.logits / temperature, sim.without_positives()
    alone = left_out.all(dim=1)  # nothing repels: nothing to learn
    others = logits.masked_fill(left_out & ~alone[:, None], -torch.inf)
    rows = torch.logsumexp(others, dim=1) - sim.over_positives(logits)
    return rows.masked_fill(alone, 0)


REDUCTIONS = {"infonce": infonce, "decoupled": decoupled}
