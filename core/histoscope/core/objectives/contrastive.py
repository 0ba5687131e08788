"""Bases that have negatives, and the choices that may be made about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from histoscope.core.errors import UsageError
from histoscope.core.losses.choices import (
    alignment_temperature,
    attracted,
    beside,
    divergence,
    drawn,
    eliminated,
    elsewhere,
    false_negatives,
    inconsistency,
    mixtures,
    opposed,
    reweighted,
    spared,
    to_nearest,
    weighted,
)
from histoscope.core.losses.contrast import REDUCTIONS, Similarities
from histoscope.core.losses.distillation import contrasted
from histoscope.core.objectives.choices import (
    AlignmentTemperature,
    Consistency,
    FalseNegatives,
    FixedTemperature,
    InterImage,
    Invariance,
    Mixtures,
    Near,
    NearestFeatures,
    OtherCase,
    SameLabel,
    Sampled,
)
from histoscope.core.objectives.contract import (
    Clock,
    Corpus,
    Draw,
    LossReport,
    Needs,
    Objective,
    Projected,
    Rows,
    Setting,
)
from histoscope.core.objectives.mining import BANK_DRAWS, Banked, Grouped, cases_of, same_of
from histoscope.core.objectives.spec import ContrastSpec
from histoscope.core.views.background import BEFORE, OF_VIEW

PARTNERS = "partner"  # family of views of second images
SUPPORT = "support"  # family of further views of an image, as the usual one unless told
MATCHED = "matched"  # family of other subjects before the background of a view
KNOWN = "matched, known"
SAMPLED = "sampled"
MIXTURE_DRAWS = ("mixture, one", "mixture, other", "mixture, share")
# one number a row is drawn, its mixtures take further ones by these steps (Kronecker's sequence)
IRRATIONAL = (0.6180339887498949, 0.4142135623730950, 0.7320508075688772)


class Contrastive(Objective):
    """A base that compares views with others.

    In this order: columns are compared, positives beside the own view found, false negatives found,
    mixtures made of the rest, the temperature taken from the own views, rows reduced and weighted,
    consistency added (which knows no mixtures: the other view has other ones).

    Attributes:
        spec: its choices.
        asking: places of the usual views that are opposed, in the order in which they ask; what
            asks behind them is not.
    """

    spec: ContrastSpec
    asking: Sequence[int] = (0, 1)
    near: Tensor | None
    groups_of: Tensor | None
    grouped: Grouped | None
    banked: Banked | None

    def choose(self, needs: Needs, setting: Setting, negatives: int) -> None:
        """Set up what the choices need beside the base: to be called when ``spec`` is there.

        Args:
            needs: of the base.
            setting: of the run.
            negatives: that a row has at most.

        Raises:
            UsageError: too few negatives, cases or images for a choice.
        """
        told = self.spec.negatives
        self._check(min(negatives, told.count) if isinstance(told, Sampled) else negatives)
        choice, draws = self.spec.positives, dict(needs.draws)
        if isinstance(choice, NearestFeatures) and type(self).beneath is Contrastive.beneath:
            raise UsageError(
                f"objective.positives: revisiting looks for neighbours in a queue, and "
                f"{self.spec.base} has none; set objective.base=moco_v2"
            )
        families = dict(needs.families)
        if isinstance(told, FalseNegatives):
            families[SUPPORT] = told.support
        if isinstance(told, Sampled):
            draws[SAMPLED] = Draw("uniform")
        if self.spec.synthetic is not None:
            draws |= {name: Draw("uniform") for name in MIXTURE_DRAWS}
        if isinstance(choice, InterImage):
            draws |= {name: Draw("uniform") for name in BANK_DRAWS}
        near = choice if isinstance(choice, Near) else None
        spare = near is not None and near.spare
        partners = near.count if near else 0
        self.needs = replace(
            needs,
            families=families,
            draws=draws,
            partners=partners,
            relations=spare,
            matched=setting.matched,
        )
        self.register_buffer("near", same_of(setting) if spare else None, persistent=False)
        groups = cases_of(setting) if isinstance(choice, OtherCase) else None
        self.register_buffer("groups_of", groups, persistent=False)
        self.grouped = Grouped(told, setting) if isinstance(told, SameLabel) else None
        self.banked = (
            Banked(choice, self.spec.projector.out, self.spec.reduction, setting)
            if isinstance(choice, InterImage)
            else None
        )

    def _check(self, negatives: int) -> None:
        synthetic, consistency = self.spec.synthetic, self.spec.consistency
        if isinstance(synthetic, Mixtures) and synthetic.hardest > negatives:
            raise UsageError(
                f"objective.synthetic.hardest: {synthetic.hardest}, but a row has {negatives} "
                f"negatives; --set objective.synthetic.hardest={negatives}"
            )
        if isinstance(consistency, Consistency) and negatives < 2:
            raise UsageError(
                f"objective.consistency: of {negatives} negatives nothing can be consistent; give "
                "a larger batch or queue"
            )

    def network(self) -> nn.Sequential:
        """Encoder and head that make of an image what it is compared with: maybe the slow copy."""
        parts = (self.get_submodule(name) for name in ("encoder", "projector"))
        return nn.Sequential(*parts)

    def begin_epoch(self, corpus: Corpus, clock: Clock) -> None:
        """Group all images of the data set, where a choice asks for it."""
        if self.grouped is not None:
            self.grouped.begin_epoch(self.network()[0], corpus, clock)
        if self.banked is not None:
            self.banked.begin_epoch(self.network(), corpus, clock)

    def after_step(self, projected: Projected, rows: Rows, clock: Clock) -> None:
        """Remember what was said of the images, where a choice asks for it."""
        if self.banked is not None:
            self.banked.after_step(self.said(projected), rows, clock)

    def said(self, projected: Projected) -> Tensor:
        """What others are compared with, of each image, at unit length, (batch, views, dim)."""
        raise NotImplementedError

    def seconds(self, projected: Projected) -> Tensor:
        """Views of partners as they attract, (batch, partners, dim)."""
        raise NotImplementedError

    def beneath(self, projected: Projected) -> Sequence[Tensor]:
        """Cosines of the encoder's features in place of what :meth:`compare` compares.

        One a direction, (rows, shared), without gradient. What has no queue has none.
        """
        raise NotImplementedError

    def compare(self, projected: Projected, rows: Rows) -> Sequence[Similarities]:
        """Cosines of everything that asks with all that answers, one a direction."""
        raise NotImplementedError

    def opponents(self, projected: Projected) -> Tensor:
        """What opposes each view that asks, (batch, views, dim)."""
        return projected.asks[MATCHED] if MATCHED in projected.asks else projected.answers[MATCHED]

    def loss(
        self, projected: Projected, rows: Rows, draws: Mapping[str, Tensor], clock: Clock
    ) -> LossReport:
        """Mean over rows of all directions."""
        sims = self._opposed(self.compare(projected, rows), projected, rows)
        with torch.no_grad():
            shown = {"positive_cosine": torch.stack([sim.attraction().mean() for sim in sims])}
        if self.needs.matched:
            shown["matched"] = projected.answers[KNOWN].double().mean()
        closer = [self._positives(sim, projected, rows, clock) for sim in sims]
        changed = [
            one
            for sim in closer
            for one in self._negatives(sim, projected, rows, draws, clock, shown)
        ]
        harder = [self._synthetic(sim, draws, clock) for sim in changed]
        warmth = self._temperature(sims, shown)
        times = len(changed) // len(sims)
        pairs = zip((sim for sim in sims for _ in range(times)), harder, strict=True)
        loss = torch.stack([self._reduced(sim, now, warmth) for sim, now in pairs]).mean()
        terms = [(1.0, loss)]
        if self.banked is not None:
            weight = self.banked.weight_at(clock)
            term = self.banked.loss(sims, rows, draws, warmth) if weight else loss.new_zeros(())
            terms, shown["inter_image"] = [(1 - weight, loss), (weight, term)], term
        if isinstance(choice := self.spec.positives, NearestFeatures):
            weight = choice.weight if clock.share >= choice.begins else 0.0
            term = loss.new_zeros(())
            if weight:
                term = self._pulled(sims, self.beneath(projected), choice.count, warmth)
            terms.append((weight, term))
            shown["nearest"] = term
        if self.spec.consistency is not None:
            terms.append(self._consistency(changed, warmth, clock, shown))
        return LossReport(terms, shown)

    def of_mixed(
        self,
        projected: Projected,
        rows: Rows,
        draws: Mapping[str, Tensor],
        clock: Clock,
        plain: LossReport,
    ) -> Tensor:
        """The reduction alone, at the temperature of the views that are not mixed."""
        choice, reduce = self.spec.temperature, REDUCTIONS[self.spec.reduction]
        warmth: float | Tensor
        warmth = (
            choice.value if isinstance(choice, FixedTemperature) else plain.shown["temperature"]
        )
        sims = self.compare(projected, rows)
        return torch.stack([reduce(sim, warmth).mean() for sim in sims]).mean()

    def recalled(self, asked: Tensor, target: Tensor) -> Tensor:
        """InfoNCE both ways over all views, at the base's temperature (MACL's at its threshold)."""
        choice = self.spec.temperature
        assert isinstance(choice, FixedTemperature | AlignmentTemperature)
        return contrasted(asked.flatten(0, 1), target.flatten(0, 1), choice.value)

    def _opposed(
        self, sims: Sequence[Similarities], projected: Projected, rows: Rows
    ) -> Sequence[Similarities]:
        """With what opposes them; directions, or rows of one, are in the order of the views."""
        if not self.needs.matched:
            return sims
        views = self.opponents(projected).transpose(0, 1)  # (views, batch, dim)
        known = projected.answers[KNOWN].squeeze(2).T > 0
        each = len(sims[0].anchor) // len(rows.index)  # views that a direction asks
        whose = rows.donors[:, BEFORE::OF_VIEW].T[list(self.asking)]  # (views, batch)
        found = []
        for place, sim in enumerate(sims[: len(views) // each]):
            mine = slice(place * each, (place + 1) * each)
            there, index = known[mine].flatten()[:, None], whose[mine].flatten()[:, None]
            found.append(opposed(sim, views[mine].flatten(0, 1)[:, None], there, index))
        return [*found, *sims[len(found) :]]

    def _pulled(
        self,
        sims: Sequence[Similarities],
        beneath: Sequence[Tensor],
        count: int,
        warmth: float | Tensor,
    ) -> Tensor:
        """To the nearest by what lies beneath, the mean over rows that have any."""
        lost, held = list[Tensor](), list[Tensor]()
        for sim, cosines in zip(sims, beneath, strict=True):
            near, known = to_nearest(sim, cosines, count)
            rows = REDUCTIONS[self.spec.reduction](near, warmth)
            lost.append(rows.masked_fill(~known, 0).sum())
            held.append(known.sum())
        return torch.stack(lost).sum() / torch.stack(held).sum().clamp(min=1)

    def _positives(
        self, sim: Similarities, projected: Projected, rows: Rows, clock: Clock
    ) -> Similarities:
        choice, times = self.spec.positives, len(sim.anchor) // len(rows.index)
        if isinstance(choice, Near):
            sim = spared(sim, rows.partners.repeat(times, 1))  # they attract, wherever they stand
            if self.near is not None:
                sim = spared(sim, self.near[rows.index].repeat(times, 1))
            views = self.seconds(projected).repeat(times, 1, 1)
            return beside(sim, views, (rows.partners >= 0).repeat(times, 1))
        if isinstance(choice, OtherCase) and clock.share >= choice.begins:
            assert self.groups_of is not None
            return elsewhere(sim, choice.count, self.groups_of, rows.index.repeat(times))
        return sim

    def _negatives(
        self,
        sim: Similarities,
        projected: Projected,
        rows: Rows,
        draws: Mapping[str, Tensor],
        clock: Clock,
        shown: dict[str, Tensor],
    ) -> list[Similarities]:
        """Without false negatives, once for each size of groups; or a few that are drawn."""
        if self.grouped is not None:
            return self.grouped.without(sim, rows, clock, shown)
        choice = self.spec.negatives
        if isinstance(choice, Sampled):
            times = len(sim.anchor) // len(rows.index)
            return [drawn(sim, choice.count, draws[SAMPLED].repeat(times))]
        if not isinstance(choice, FalseNegatives):
            return [sim]
        count = choice.count if clock.share >= choice.begins else 0
        views = projected.answers[SUPPORT]
        views = views.repeat(len(sim.anchor) // len(views), 1, 1)
        places, known = false_negatives(sim, count, choice.threshold, views)
        shown["false_negatives"] = known.sum(1).double().mean()
        change = eliminated if choice.way == "eliminate" else attracted
        return [change(sim, places, known)]

    def _synthetic(
        self, sim: Similarities, draws: Mapping[str, Tensor], clock: Clock
    ) -> Similarities:
        choice = self.spec.synthetic
        if not isinstance(choice, Mixtures) or clock.share < choice.begins:
            return sim
        drawn = torch.stack([draws[name] for name in MIXTURE_DRAWS], 1)  # (batch, 3)
        rows = drawn.repeat(len(sim.anchor) // len(drawn), 1)
        count = choice.pairs + choice.with_query
        steps = torch.arange(count, device=rows.device, dtype=rows.dtype)
        jumps = torch.tensor(IRRATIONAL, device=rows.device, dtype=rows.dtype)
        numbers = (rows[..., None] + jumps[:, None] * steps).frac()
        return mixtures(sim, choice.hardest, choice.pairs, choice.with_query, numbers)

    def _temperature(
        self, sims: Sequence[Similarities], shown: dict[str, Tensor]
    ) -> float | Tensor:
        """One for all directions."""
        choice = self.spec.temperature
        if isinstance(choice, AlignmentTemperature):
            agreement = torch.stack([sim.attraction().mean() for sim in sims]).mean()
            told = choice.value, choice.slope, choice.threshold
            shown["temperature"] = alignment_temperature(agreement, *told)
            return shown["temperature"]
        assert isinstance(choice, FixedTemperature)
        return choice.value

    def _consistency(
        self,
        sims: Sequence[Similarities],
        warmth: float | Tensor,
        clock: Clock,
        shown: dict[str, Tensor],
    ) -> tuple[float, Tensor]:
        """What both views must agree on: its weight, and the mean over rows of all directions."""
        choice = self.spec.consistency
        if isinstance(choice, Invariance):
            name, weight = "divergence", choice.weight
            each = [divergence(sim, warmth) for sim in sims]
        else:
            assert isinstance(choice, Consistency)
            ramp = min(1.0, clock.share / choice.ramp) if choice.ramp else 1.0
            name, weight = "inconsistency", choice.weight * ramp
            each = [inconsistency(sim, choice.temperature) for sim in sims]
        shown[name] = torch.stack([rows.mean() for rows in each]).mean()
        return weight, shown[name]

    def _reduced(self, own: Similarities, sim: Similarities, warmth: float | Tensor) -> Tensor:
        """Mean over rows; ``own`` has the own view alone as positive, and all negatives."""
        choice, reduce = self.spec.temperature, REDUCTIONS[self.spec.reduction]
        if not (isinstance(choice, AlignmentTemperature) and choice.reweight):
            return reduce(sim, warmth).mean()
        if sim is own:
            return weighted(sim, warmth).mean()
        # what still repels, but for mixtures
        left = replace(sim, own=own.own.released_as(sim.own))
        return (reduce(sim, warmth) * reweighted(left, warmth)).mean()
