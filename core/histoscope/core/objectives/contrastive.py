"""Bases that have negatives, and the choices that may be made about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from histoscope.core.losses.choices import (
    alignment_temperature,
    attracted,
    eliminated,
    false_negatives,
    inconsistency,
    mixtures,
    reweighted,
)
from histoscope.core.losses.contrast import REDUCTIONS, Similarities
from histoscope.core.objectives.choices import (
    AlignmentTemperature,
    Consistency,
    FalseNegatives,
    FixedTemperature,
    Mixtures,
)
from histoscope.core.objectives.contract import (
    Clock,
    Draw,
    LossReport,
    Needs,
    Objective,
    Projected,
    Rows,
)
from histoscope.core.objectives.spec import ContrastSpec

MIXTURE_DRAWS = ("mixture, one", "mixture, other", "mixture, share")
# one number a row is drawn, its mixtures take further ones by these steps (Kronecker's sequence)
IRRATIONAL = (0.6180339887498949, 0.4142135623730950, 0.7320508075688772)


class Contrastive(Objective):
    """A base that compares views with others.

    In this order: columns are compared, false negatives found, mixtures made of the rest, the
    temperature taken from the own views, rows reduced and weighted, consistency added (which knows
    no mixtures: the other view has other ones).

    Attributes:
        spec: its choices.
    """

    spec: ContrastSpec

    def wants(self, needs: Needs) -> Needs:
        """What a base needs, and its choices beside."""
        if self.spec.synthetic is None:
            return needs
        draws = {name: Draw("uniform") for name in MIXTURE_DRAWS}
        return replace(needs, draws={**needs.draws, **draws})

    def compare(self, projected: Projected, rows: Rows) -> Sequence[Similarities]:
        """Cosines of everything that asks with all that answers, one a direction."""
        raise NotImplementedError

    def loss(
        self, projected: Projected, rows: Rows, draws: Mapping[str, Tensor], clock: Clock
    ) -> LossReport:
        """Mean over rows of all directions."""
        sims = self.compare(projected, rows)
        shown = {"positive_cosine": torch.stack([sim.attraction().mean() for sim in sims])}
        changed = [self._negatives(sim, clock, shown) for sim in sims]
        harder = [self._synthetic(sim, draws, clock) for sim in changed]
        pairs = list(zip(sims, harder, strict=True))
        loss = torch.stack([self._reduced(sim, now, shown) for sim, now in pairs]).mean()
        terms = [(1.0, loss)]
        if isinstance(consistency := self.spec.consistency, Consistency):
            ramp = min(1.0, clock.share / consistency.ramp) if consistency.ramp else 1.0
            rows_of = [inconsistency(sim, consistency.temperature).mean() for sim in changed]
            term = torch.stack(rows_of).mean()
            terms.append((consistency.weight * ramp, term))
            shown["inconsistency"] = term
        return LossReport(terms, shown)

    def _negatives(self, sim: Similarities, clock: Clock, shown: dict[str, Tensor]) -> Similarities:
        choice = self.spec.negatives
        if not isinstance(choice, FalseNegatives):
            return sim
        count = choice.count if clock.share >= choice.begins else 0
        those = false_negatives(sim, count, choice.threshold)
        shown["false_negatives"] = those.sum(1).double().mean()
        return (eliminated if choice.way == "eliminate" else attracted)(sim, those)

    def _synthetic(
        self, sim: Similarities, draws: Mapping[str, Tensor], clock: Clock
    ) -> Similarities:
        choice = self.spec.synthetic
        if not isinstance(choice, Mixtures) or clock.share < choice.begins:
            return sim
        drawn = torch.stack([draws[name] for name in MIXTURE_DRAWS], 1)  # (batch, 3)
        rows = drawn.repeat(len(sim.logits) // len(drawn), 1)
        count = choice.pairs + choice.with_query
        steps = torch.arange(count, device=rows.device, dtype=rows.dtype)
        jumps = torch.tensor(IRRATIONAL, device=rows.device, dtype=rows.dtype)
        numbers = (rows[..., None] + jumps[:, None] * steps).frac()
        return mixtures(sim, choice.hardest, choice.pairs, choice.with_query, numbers)

    def _reduced(self, own: Similarities, sim: Similarities, shown: dict[str, Tensor]) -> Tensor:
        """Mean over rows; ``own`` has the own view alone as positive."""
        choice, reduce = self.spec.temperature, REDUCTIONS[self.spec.reduction]
        if isinstance(choice, AlignmentTemperature):
            warmth = alignment_temperature(own, choice.value, choice.slope, choice.threshold)
            shown["temperature"] = warmth
            rows = reduce(sim, warmth)
            return (rows * reweighted(own, warmth) if choice.reweight else rows).mean()
        assert isinstance(choice, FixedTemperature)
        return reduce(sim, choice.value).mean()
