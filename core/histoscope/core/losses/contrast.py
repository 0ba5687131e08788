"""The currency of contrastive objectives: cosines with what each column is to each row.

Formulas are means over rows of -log p(positive), with the softmax in float32 or better.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from histoscope.core.errors import UsageError

NONE = -1e30  # no logarithm of a sum is below it


@dataclass(frozen=True)
class Own:
    """Columns of one row only, as its other view; some may be missing from a row.

    Attributes:
        logits: cosines before temperature, float32 or better, (rows, columns).
        known: bool, which of them a row has.
        positive: bool, which of them attract, (rows, columns); the others repel.
        matched: dataset index of the images in the last columns, which repel, int64,
            (rows, matched); None: there are none.
    """

    logits: Tensor
    known: Tensor
    positive: Tensor
    matched: Tensor | None = None

    def with_columns(self, logits: Tensor, known: Tensor, *, attract: bool) -> Own:
        """With more columns before those that are matched."""
        positive = torch.full_like(known, attract)
        return Own(
            self._with(self.logits, logits),
            self._with(self.known, known),
            self._with(self.positive, positive),
            self.matched,
        )

    def released(self, those: Tensor) -> Own:
        """Some matched columns left out, bool, (rows, matched)."""
        last = self.logits.shape[1] - those.shape[1]
        known = torch.cat([self.known[:, :last], self.known[:, last:] & ~those], 1)
        return replace(self, known=known)

    def released_as(self, other: Own) -> Own:
        """With those matched columns left out that another does not know any more."""
        if self.matched is None:
            return self
        return self.released(~other.known[:, -self.matched.shape[1] :])

    def _with(self, columns: Tensor, more: Tensor) -> Tensor:
        if self.matched is None:
            return torch.cat([columns, more], 1)
        last = columns.shape[1] - self.matched.shape[1]
        return torch.cat([columns[:, :last], more, columns[:, last:]], 1)


@dataclass(frozen=True)
class Similarities:
    """Rows are queries, columns are candidates; each row has its other view as a positive.

    Attributes:
        own: columns of one row only.
        logits: cosines with the columns of all rows, which repel, float32 or better,
            (rows, shared).
        ignored: bool, which of these a row leaves out, (rows, shared).
        anchor: what asks, at unit length, (rows, dim), with its gradient.
        columns: what shared columns hold, at unit length, (shared, dim), without gradient.
        partner: of each row its other view, at unit length, (rows, dim), without gradient.
        index: dataset index of each shared column, int64, (shared,); -1: nobody's; None: unknown.
    """

    own: Own
    logits: Tensor
    ignored: Tensor
    anchor: Tensor
    columns: Tensor
    partner: Tensor
    index: Tensor | None = None

    def of_partner(self) -> Tensor:
        """Cosines of each row's other view with the shared columns."""
        cosines = self.partner @ self.columns.T
        return cosines.to(self.logits.dtype)

    def attraction(self) -> Tensor:
        """Mean over the positives of each row of its cosine, (rows,); 0 where it has none."""
        pulls = self.own.known & self.own.positive
        return self.own.logits.masked_fill(~pulls, 0).sum(1) / pulls.sum(1).clamp(min=1)

    def without(self, those: Tensor) -> Similarities:
        """Shared columns left out, bool, (rows, shared), and what is matched of their images."""
        return replace(self, ignored=self.ignored | those, own=self._released(those))

    def _released(self, those: Tensor) -> Own:
        matched = self.own.matched
        if matched is None or self.index is None:
            return self.own
        same = [(those & (self.index == one[:, None])).any(1) for one in matched.unbind(1)]
        return self.own.released(torch.stack(same, 1))


def in_batch(z1: Tensor, z2: Tensor, index: Tensor | None = None) -> Similarities:
    """All 2·batch projections against all; the other view is the positive, own ones do not repel.

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
    z1, z2 = _unit(z1), _unit(z2)
    z, other = torch.cat([z1, z2]), torch.cat([z2.detach(), z1.detach()])
    of = torch.arange(count, device=z.device) if index is None else index
    ignored = (of[:, None] == of[None]).repeat(2, 2)
    whose = None if index is None else of.repeat(2)
    pair = _own((z1 * z2).sum(1).repeat(2)[:, None])
    return Similarities(pair, _gram(z), ignored, z, z.detach(), other, whose)


class _Gram(torch.autograd.Function):
    """Rows against themselves; the gradient by one product, as both sides are the same rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        return rows @ rows.T

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> Tensor:
        (rows,) = ctx.saved_tensors
        return (given[0] + given[0].T) @ rows


def _gram(rows: Tensor) -> Tensor:
    out: Tensor = _Gram.apply(rows)
    return out


def against_queue(q: Tensor, k: Tensor, own: Tensor, keys: Tensor, index: Tensor) -> Similarities:
    """Each query against its own key and the rows of a queue.

    Rows of the queue that hold nothing yet (index -1), or an older key of the query's own image,
    are ignored.

    Args:
        q: queries, (batch, dim).
        k: keys of the same images, at unit length, (batch, dim).
        own: dataset index of each query, int64, (batch,).
        keys: the queue, at unit length, (rows, dim).
        index: dataset index of each row of it, int64, (rows,).

    Source: He et al. 2020, algorithm 1. Differs: own images in the queue are no negatives.
    """
    q = _unit(q)
    k, keys = k.to(q.dtype), keys.to(q.dtype)
    ignored = index[None] == own[:, None]
    ignored |= (index < 0)[None]
    pair = _own((q * k).sum(1, keepdim=True))
    return Similarities(pair, q @ keys.T, ignored, q, keys.detach(), k.detach(), index)


def _unit(rows: Tensor) -> Tensor:
    return normalize(rows if rows.dtype == torch.float64 else rows.float(), dim=1)


def _own(cosines: Tensor) -> Own:
    """The other view alone, (rows, 1)."""
    yes = torch.ones_like(cosines, dtype=torch.bool)
    return Own(cosines, yes, yes)


def infonce(sim: Similarities, temperature: float | Tensor) -> Tensor:
    """Rows of -mean over positives of log softmax over all columns that are not ignored.

    0 where a row has no negative. Source: van den Oord et al. 2018, eq. 4, with temperature as in
    Chen et al. 2020, eq. 1.
    """
    return _log_sum(sim, temperature, sim.own.known) - sim.attraction() / temperature


def decoupled(sim: Similarities, temperature: float | Tensor) -> Tensor:
    """As :func:`infonce`, but positives do not stand in the denominator.

    Source: Yeh et al. 2021, "Decoupled Contrastive Learning", eq. 5 (DCL, without weights).
    """
    rows = odds(sim, temperature)
    return rows.masked_fill(rows < NONE, 0)


def odds(sim: Similarities, temperature: float | Tensor) -> Tensor:
    """Log of the sum over negatives, by the mean positive, (rows,); below NONE without negatives.

    With one positive P is the softmax's share of it where these are log((1 - P) / P).
    """
    others = _log_sum(sim, temperature, sim.own.known & ~sim.own.positive)
    return others - sim.attraction() / temperature


def _log_sum(sim: Similarities, temperature: float | Tensor, own: Tensor) -> Tensor:
    """Log of the sum over shared columns and those of ``own``; very low where there is none."""
    shared = _sum_exp(sim.logits, sim.ignored, temperature)
    logits = (sim.own.logits / temperature).masked_fill(~own, _low(sim.logits))
    return torch.cat([shared[:, None], logits], 1).logsumexp(1)


class _LogSumExp(torch.autograd.Function):
    """By one softmax, of which the gradient is made, with mask and temperature in the same pass.

    Written out as most of a contrast's time goes here (``python -m tests.benchmarks.losses``).
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, ignored: Tensor, temperature: float | Tensor) -> Tensor:
        warm = (rows / temperature).masked_fill_(ignored, _low(rows))
        shares = warm.softmax(1)
        learnt = isinstance(temperature, Tensor) and temperature.requires_grad
        ctx.save_for_backward(shares, rows if learnt else None)
        ctx.temperature = temperature
        return warm.amax(1) - shares.amax(1).log()

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor, None, Tensor | None]:
        shares, rows = ctx.saved_tensors
        slope = given[0] / ctx.temperature
        warmer = None
        if rows is not None:
            warmer = -(slope * (shares * rows).sum(1)).sum() / ctx.temperature
        return shares * slope[:, None], None, warmer


def _sum_exp(rows: Tensor, ignored: Tensor, temperature: float | Tensor) -> Tensor:
    """Log of the sum over columns that are not ignored of exponentials, (rows,)."""
    out: Tensor = _LogSumExp.apply(rows, ignored, temperature)
    return out


def _low(rows: Tensor) -> float:
    """Stands for -inf, of which alone there would be no gradient; its exponential is 0."""
    return torch.finfo(rows.dtype).min / 4


REDUCTIONS = {"infonce": infonce, "decoupled": decoupled}
