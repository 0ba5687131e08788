"""Un-Mix over any base: two images in one view, pulled to what belongs to each, in their shares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from histoscope.core.encoders.contract import Encoder
from histoscope.core.errors import UsageError
from histoscope.core.objectives import OBJECTIVES
from histoscope.core.objectives.choices import Cassle, PlackettLuce, UnMix
from histoscope.core.objectives.continual import Continued
from histoscope.core.objectives.contract import (
    Clock,
    Corpus,
    Draw,
    LossReport,
    Objective,
    Projected,
    Rows,
    Setting,
    Views,
)
from histoscope.core.objectives.ranked import Ranked
from histoscope.core.objectives.spec import MethodSpec
from histoscope.core.optim.groups import Group

SHARE, KIND, LEFT, TOP = "mixing, share", "mixing, kind", "mixing, left", "mixing, top"


def make_objective(encoder: Encoder, spec: MethodSpec, setting: Setting) -> Objective:
    """The method that settings ask for, with what they put around it.

    Innermost what it starts from is kept, then images are mixed, then samples are ordered, none
    of which is mixed.

    Raises:
        UsageError: the method cannot be mixed or continued, or does not suit the setting.
    """
    if isinstance(spec.mixing, UnMix) and setting.matched:
        raise UsageError(
            "objective.mixing: a mixed view has no background of its own that "
            "views.background of kind swap could match; use kind random"
        )
    made: Objective = OBJECTIVES.load(spec.base)(encoder, spec, setting)
    if setting.matched and not made.needs.matched:
        raise UsageError(
            f"views.background: kind swap wants negatives; {spec.base} has none; use kind random"
        )
    if isinstance(spec.continual, Cassle):
        made = Continued(made, spec.continual, spec.base)
    if isinstance(spec.mixing, UnMix):
        made = Mixed(made, spec.mixing, spec.base)
    if isinstance(spec.order, PlackettLuce):
        made = Ranked(made, f"{'base.' * _around(spec)}encoder", spec.order)
    return made


def head_of(spec: MethodSpec, dim: int) -> tuple[nn.Module, str] | None:
    """A new projection head of the method that settings ask for, and where in its state it lies.

    None where the method does not tell. Torch's generator stays as it is.

    Args:
        spec: settings.
        dim: width of the network's features.
    """
    method: type[Objective] = OBJECTIVES.load(spec.base)
    with torch.random.fork_rng(devices=[]):
        head = method.head_of(spec, dim)
    around = _around(spec) + isinstance(spec.order, PlackettLuce)
    return None if head is None else (head, f"{'base.' * around}{method.head_at}.")


def _around(spec: MethodSpec) -> int:
    """How often the method is held by another one, before its samples are ordered."""
    return isinstance(spec.mixing, UnMix) + isinstance(spec.continual, Cassle)


@dataclass(frozen=True)
class Mixture:
    """How two images become one.

    Attributes:
        share: of the first, (1,).
        boxed: whether a box of the second is pasted, (1,).
        box: its ends, shares of the side: left, right, top, bottom, (4,).
    """

    share: Tensor
    boxed: Tensor
    box: Tensor

    def of(self, images: Tensor) -> Tensor:
        """Each image with its neighbour, (part, 3, height, width)."""
        others, share = _swapped(images), self.share.to(images.dtype)
        blend = share * images + (1 - share) * others
        sides = [
            (torch.arange(size, device=images.device) + 0.5) / size for size in images.shape[-2:]
        ]
        left, right, top, bottom = self.box.unbind()
        rows = (sides[0] >= top) & (sides[0] < bottom)
        columns = (sides[1] >= left) & (sides[1] < right)
        pasted = torch.where(rows[:, None] & columns, others, images)
        return torch.where(self.boxed, pasted, blend)


class Mixed(Objective):
    """Shen et al. 2022, "Un-Mix": l(q, k) + w (s l(q~, k) + (1 - s) l(q~, k of the other)).

    The images of a part are mixed in twos, each with its neighbour in the batch, whose order is
    drawn (the paper reverses the batch; so parts and processes are alike). All views that ask are
    mixed; of a base without answers, the first. One share for the batch; where a box is pasted the
    share is that of the area left. The terms of mixed views are the base's reduction at the
    temperature of the others, without its other choices. Slow copies see no mixed images.

    Args:
        base: the method.
        spec: of the mixture.
        name: of the method, for messages.

    Raises:
        UsageError: from ``project``: the base has no answers, and no views that could stand for
            them.
    """

    def __init__(self, base: Objective, spec: UnMix, name: str) -> None:
        super().__init__()
        self.base, self.spec = base, spec
        draws = {
            SHARE: Draw("beta", per_row=False, low=spec.alpha, high=spec.alpha),
            **{name: Draw("uniform", per_row=False) for name in (KIND, LEFT, TOP)},
        }
        needs, self._name = base.needs, name
        self.needs = replace(needs, draws={**needs.draws, **draws}, multiple=2 * needs.multiple)

    @property
    def published(self) -> nn.Module:
        """That of the base."""
        return self.base.published

    def project(self, views: Views) -> Projected:
        """What the base makes of the views as they are, and what it asks of mixed ones."""
        mixture = self._mixture(views.draws)
        families = {
            name: [mixture.of(view) for view in family] for name, family in views.families.items()
        }
        alike = {name: _of_first(views.draws[name]) for name in self.base.paired}
        views = replace(views, draws={**views.draws, **alike})
        plain = self.base.project(views)
        with _unmoved(self.base):
            mixed = self.base.project(replace(views, families=families))
        if not (plain.answers or self.base.second or self.base.answered):
            raise UsageError(f"objective.mixing: {self._name} has no answers to what is asked")
        asks = {f"plain {name}": rows for name, rows in plain.asks.items()}
        asks |= {f"mixed {name}": rows for name, rows in mixed.asks.items()}
        return Projected(asks, plain.answers)

    def loss(
        self, projected: Projected, rows: Rows, draws: Mapping[str, Tensor], clock: Clock
    ) -> LossReport:
        """The base's, and that of mixed images with the answers to both."""
        plain = self._plain(projected)
        mixed = {
            name: projected.asks[f"mixed {name}"]
            for name in plain.asks
            if name not in self.base.second
        }
        second = {name: plain.asks[name] for name in self.base.second if name in plain.asks}
        swapped = {name: _swapped(rows) for name, rows in second.items()}
        answers = {name: _swapped(rows) for name, rows in plain.answers.items()}
        others = Rows(*map(_swapped, (rows.index, rows.partners, rows.donors)))
        base = self.base.loss(plain, rows, draws, clock)
        told = Projected({**mixed, **second}, plain.answers)
        own = self.base.of_mixed(told, rows, draws, clock, base)
        told = Projected({**mixed, **swapped}, answers)
        other = self.base.of_mixed(told, others, draws, clock, base)
        share = self._mixture(draws).share.squeeze(0)
        term = share * own + (1 - share) * other
        return LossReport(
            [*base.terms, (self.spec.weight, term)], {**base.shown, "mixed": term, "share": share}
        )

    def begin_epoch(self, corpus: Corpus, clock: Clock) -> None:
        """As the base."""
        self.base.begin_epoch(corpus, clock)

    def before_step(self, clock: Clock) -> None:
        """As the base."""
        self.base.before_step(clock)

    def after_step(self, projected: Projected, rows: Rows, clock: Clock) -> None:
        """As the base, of images as they are."""
        self.base.after_step(self._plain(projected), rows, clock)

    def groups(self) -> Iterable[Group]:
        """Those of the base."""
        return self.base.groups()

    def _mixture(self, draws: Mapping[str, Tensor]) -> Mixture:
        """Of the step, the same for all parts."""
        share, boxed = draws[SHARE], draws[KIND] < self.spec.boxes
        half = (1 - share).sqrt() / 2
        places = torch.cat([draws[LEFT], draws[TOP]])
        ends = torch.stack([places - half, places + half], 1).clamp(0, 1)
        area = (ends[:, 1] - ends[:, 0]).prod()
        return Mixture(torch.where(boxed, 1 - area, share), boxed, ends.flatten())

    def _plain(self, projected: Projected) -> Projected:
        asks = {
            name.removeprefix("plain "): rows
            for name, rows in projected.asks.items()
            if name.startswith("plain ")
        }
        return Projected(asks, projected.answers)


def _of_first(draw: Tensor) -> Tensor:
    """What is drawn of the first of each two, for both."""
    return draw.reshape(-1, 2)[:, :1].expand(-1, 2).reshape(-1)


@contextmanager
def _unmoved(base: nn.Module) -> Iterator[None]:
    """Batch norm of what is not trained keeps its running statistics."""
    norms = [
        part
        for part in base.modules()
        if isinstance(part, _BatchNorm)
        and part.track_running_stats
        and not any(parameter.requires_grad for parameter in part.parameters())
    ]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def _swapped(rows: Tensor) -> Tensor:
    """Each row's neighbour in its place."""
    return rows.reshape(len(rows) // 2, 2, *rows.shape[1:]).flip(1).reshape(rows.shape)
