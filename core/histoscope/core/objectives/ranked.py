"""The order of samples over any base: a small head scores them, the true order is to be likely."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from histoscope.core.data.companions import ORDERED
from histoscope.core.encoders.contract import Encoder
from histoscope.core.losses.ranking import plackett_luce, right_pairs
from histoscope.core.objectives.choices import PlackettLuce
from histoscope.core.objectives.contract import (
    Clock,
    Corpus,
    LossReport,
    Objective,
    Projected,
    Rows,
    Views,
)
from histoscope.core.objectives.heads import layered
from histoscope.core.optim.groups import Group, usual_groups

NAME, THERE = "order", "order, there"


class Ranked(Objective):
    """L + weight · the negative log-likelihood of the true order by scores f of features.

    Of each image samples of its source at other places of the order are read, itself among them,
    one view each; f of the earliest is to be the highest (Plackett-Luce, as PL-Stitch uses it for
    moments of a recording). The mean over groups of two and more, in nats, not divided by their
    samples. They pass the network after all that the base asks, and batch norm's running
    statistics stay those of the base's views.

    Args:
        base: the method, with all that is around it.
        network_at: where in it the network lies that is trained.
        spec: weight, samples of a group, width of the head.
    """

    def __init__(self, base: Objective, network_at: str, spec: PlackettLuce) -> None:
        super().__init__()
        self.base, self.spec, self._network_at = base, spec, network_at
        dim = cast(Encoder, base.get_submodule(network_at)).dim
        self.scorer = layered([dim, spec.hidden, 1], norm=False)
        self.needs = replace(base.needs, ordered=spec.samples)

    @property
    def published(self) -> nn.Module:
        """That of the base."""
        return self.base.published

    def project(self, views: Views) -> Projected:
        """What the base makes of its own views; scores of samples in their order."""
        others = {name: of for name, of in views.families.items() if name != ORDERED}
        known = {name: of for name, of in views.known.items() if name != ORDERED}
        plain = self.base.project(replace(views, families=others, known=known))
        network = self.base.get_submodule(self._network_at)
        with _unmoved(network):
            scores = [self.scorer(network(view)) for view in views.families[ORDERED]]
        there = torch.stack([*views.known[ORDERED]], 1)[..., None].to(scores[0].dtype)
        return Projected(
            {**plain.asks, NAME: torch.stack(scores, 1)}, {**plain.answers, THERE: there}
        )

    def loss(
        self, projected: Projected, rows: Rows, draws: Mapping[str, Tensor], clock: Clock
    ) -> LossReport:
        """The base's, and how unlikely the true orders are."""
        plain = self.base.loss(_plain(projected), rows, draws, clock)
        scores = projected.asks[NAME].squeeze(2)
        known = projected.answers[THERE].squeeze(2) > 0
        groups = (known.sum(1) > 1).sum().clamp(min=1)
        term = plackett_luce(scores, known).sum() / groups
        shown = {NAME: term, "order_pairs": right_pairs(scores, known)}
        return LossReport([*plain.terms, (self.spec.weight, term)], {**plain.shown, **shown})

    def begin_epoch(self, corpus: Corpus, clock: Clock) -> None:
        """As the base."""
        self.base.begin_epoch(corpus, clock)

    def before_step(self, clock: Clock) -> None:
        """As the base."""
        self.base.before_step(clock)

    def after_step(self, projected: Projected, rows: Rows, clock: Clock) -> None:
        """As the base."""
        self.base.after_step(_plain(projected), rows, clock)

    def groups(self) -> Iterable[Group]:
        """Those of the base, and the head's."""
        return [*self.base.groups(), *usual_groups(self.scorer)]


@contextmanager
def _unmoved(network: nn.Module) -> Iterator[None]:
    """Batch norm uses the batch's statistics, and does not keep them."""
    norms = [
        part
        for part in network.modules()
        if isinstance(part, _BatchNorm) and part.track_running_stats
    ]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def _plain(projected: Projected) -> Projected:
    """What the base knows of."""
    both = (projected.asks, projected.answers)
    mine = (NAME, THERE)
    return Projected(*({n: rows for n, rows in one.items() if n not in mine} for one in both))
