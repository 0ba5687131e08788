"""CaSSLe over a base: what training starts from stays predictable from what it becomes."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from histoscope.core.encoders.contract import Encoder
from histoscope.core.errors import UsageError
from histoscope.core.objectives.choices import Cassle
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

NAME = "continual"


class Frozen(nn.Module):
    """A copy of a network that learns nothing, and stays in evaluation mode whatever is asked."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> Frozen:
        """Stay as it is."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """What it always said."""
        with torch.no_grad():
            out: Tensor = self.network(images)
        return out


class Continued(Objective):
    """Fini et al. 2022, "Self-Supervised Models are Continual Learners" (CaSSLe), section 4.

    L + weight · D(g(features), features of the frozen copy), D being the loss of the base, of the
    views that it passes through its network, which are not passed again. Features are those of the
    encoder, which is what is kept and all that ``init`` has; the paper's are a projector's, which
    it goes on with. The frozen copy is in evaluation mode (in the paper's code its batch norm
    drifts to the new images).

    Args:
        base: the method, with the network that training starts from.
        spec: weight, width of g.
        name: of the method, for messages.

    Raises:
        UsageError: the base has no loss between two features of one image.
    """

    def __init__(self, base: Objective, spec: Cassle, name: str) -> None:
        super().__init__()
        if type(base).recalled is Objective.recalled:
            raise UsageError(
                f"objective.continual: {name} has no loss by which features could keep to a frozen "
                "copy's; take simclr, moco_v2, relicv2, byol, msf, cmsf or barlow_twins"
            )
        self.base, self.spec = base, spec
        encoder = base.get_submodule("encoder")
        self.before = Frozen(encoder)
        dim = cast(Encoder, encoder).dim
        self.predictor = layered([dim, spec.hidden, dim])
        self.needs, self.second, self.paired = base.needs, base.second, base.paired

    @property
    def published(self) -> nn.Module:
        """That of the base."""
        return self.base.published

    def project(self, views: Views) -> Projected:
        """What the base makes of the views; predictions, and what the frozen copy says of them."""
        images = views.families["global"]
        with _heard(self.base.get_submodule("encoder")) as passed:
            plain = self.base.project(views)
        part = len(images[0])
        whole = torch.cat([features for _, features in passed])[: part * len(images)]
        asked = [self.predictor(features) for features in torch.split(whole, part)]
        said = torch.cat([self.before(one) for one in _first(passed, len(whole))])
        answered = torch.split(said[: len(whole)], part)
        return Projected(
            {**plain.asks, NAME: torch.stack(asked, 1)},
            {**plain.answers, NAME: torch.stack(answered, 1)},
        )

    def loss(
        self, projected: Projected, rows: Rows, draws: Mapping[str, Tensor], clock: Clock
    ) -> LossReport:
        """The base's, and how far predictions are from what was said before."""
        plain = self.base.loss(_plain(projected), rows, draws, clock)
        term = self.base.recalled(projected.asks[NAME], projected.answers[NAME])
        return LossReport([*plain.terms, (self.spec.weight, term)], {**plain.shown, NAME: term})

    def of_mixed(
        self,
        projected: Projected,
        rows: Rows,
        draws: Mapping[str, Tensor],
        clock: Clock,
        plain: LossReport,
    ) -> Tensor:
        """That of the base: what was said before is kept of images as they are."""
        return self.base.of_mixed(_plain(projected), rows, draws, clock, plain)

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
        """Those of the base, and the predictor's."""
        return [*self.base.groups(), *usual_groups(self.predictor)]


@contextmanager
def _heard(network: nn.Module) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Images that a network is called with, and what it makes of them, in order."""
    passed = list[tuple[Tensor, Tensor]]()

    def hook(module: nn.Module, given: tuple[Any, ...], made: Tensor) -> None:
        passed.append((given[0], made))

    handle = network.register_forward_hook(hook)
    try:
        yield passed
    finally:
        handle.remove()


def _first(passed: Iterable[tuple[Tensor, Tensor]], rows: int) -> Iterator[Tensor]:
    """The first images, until there are so many."""
    for images, _ in passed:
        if rows > 0:
            yield images
        rows -= len(images)


def _plain(projected: Projected) -> Projected:
    """What the base knows of."""
    both = (projected.asks, projected.answers)
    return Projected(*({n: rows for n, rows in one.items() if n != NAME} for one in both))
