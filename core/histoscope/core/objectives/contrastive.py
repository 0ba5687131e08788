"""Bases that have negatives, and the choices that may be made about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from histoscope.core.losses.choices import (
    alignment_temperature,
    attracted,
    eliminated,
    false_negatives,
    inconsistency,
    reweighted,
)
from histoscope.core.losses.contrast import REDUCTIONS, Similarities
from histoscope.core.objectives.choices import (
    AlignmentTemperature,
    Consistency,
    FalseNegatives,
    FixedTemperature,
)
from histoscope.core.objectives.contract import Clock, LossReport, Objective, Projected, Rows
from histoscope.core.objectives.spec import ContrastSpec


class Contrastive(Objective):
    """A base that compares views with others.

    In this order: columns are compared, false negatives found, the temperature taken from the own
    views, rows reduced and weighted, consistency added.

    Attributes:
        spec: its choices.
    """

    spec: ContrastSpec

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
        pairs = list(zip(sims, changed, strict=True))
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
