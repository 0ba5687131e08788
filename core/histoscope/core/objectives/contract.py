"""What an objective asks of the loop, what it is given, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from histoscope.core.objectives.spec import MethodSpec
from histoscope.core.optim.groups import Group, usual_groups

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Draw:
    """Numbers that are drawn for each step, for the global batch, by their name.

    Attributes:
        kind: ``permutation`` of the rows; ``uniform`` in [low, high); ``integers`` in [low, high);
            ``beta`` with its two parameters in ``low`` and ``high``.
        per_row: one a row of the batch; else one for all.
        low, high: see ``kind``.
    """

    kind: Literal["permutation", "uniform", "integers", "beta"]
    per_row: bool = True
    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True)
class Needs:
    """What an objective wants from the loader and the loop.

    Attributes:
        families: how many views of an image, by the name of their augmentation.
        partners: how many second images of each that lie near it: views of the family ``partner``.
        donors: how many second images of each, any other of the data set: views of the family
            ``donor``.
        ordered: how many samples of the image's source, itself among them, in their order: views
            of the family ``ordered``; of which slots there is one says :attr:`Views.known`.
        planes: kinds of planes, as masks, that come with every view.
        relations: whether it asks for what lies near what by itself, as for what is no negative.
        matched: whether images that oppose a view repel it: of each view of the family ``global``
            one in the family ``matched``, as far as :attr:`Views.known`.
        draws: numbers that it wants drawn each step.
        least_part: images that must pass the network at once for batch norm to see two.
        multiple: images that pass the network at once must divide by it.
    """

    families: Mapping[str, int] = field(default_factory=lambda: {"global": 2})
    partners: int = 0
    donors: int = 0
    ordered: int = 0
    planes: Sequence[str] = ()
    relations: bool = False
    matched: bool = False
    draws: Mapping[str, Draw] = field(default_factory=dict)
    least_part: int = 2
    multiple: int = 1


@dataclass(frozen=True)
class Views:
    """The part of a batch that passes the network at once.

    Attributes:
        families: by name one float tensor a view, (part, 3, height, width), RGB in 0..1.
        draws: the step's numbers for these rows, (part,), or (1,) where there is one for all.
        planes: by family and kind one tensor a view, uint8, (part, height, width).
        known: by family, where it may lack images, one tensor a view, bool, (part,): of which rows
            there is one; that of another row is any image.
    """

    families: Mapping[str, Sequence[Tensor]]
    draws: Mapping[str, Tensor] = field(default_factory=dict)
    planes: Mapping[str, Mapping[str, Sequence[Tensor]]] = field(default_factory=dict)
    known: Mapping[str, Sequence[Tensor]] = field(default_factory=dict)


@dataclass(frozen=True)
class Projected:
    """What a part's views became, by name, each (part, slots, dim).

    Slots are fixed, so that parts, processes and second passes line up.

    Attributes:
        asks: carry a gradient.
        answers: need none, as keys of a slow copy.
    """

    asks: Mapping[str, Tensor]
    answers: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Rows:
    """The rows of the global batch.

    Attributes:
        index: dataset index of each, int64, (batch,).
        partners: dataset index of its partners, slot by slot, int64, (batch, partners); -1: none,
            and the view in that slot is of the image itself.
        donors: dataset index of its donors, slot by slot, int64, (batch, donors).
    """

    index: Tensor
    partners: Tensor
    donors: Tensor

    @classmethod
    def alone(cls, index: Tensor) -> Rows:
        """Without second images."""
        nobody = index[:, None][:, :0]
        return cls(index, nobody, nobody)


@dataclass(frozen=True)
class Clock:
    """Where a run stands: ramps and freezes are shares of it, not steps."""

    step: int
    steps: int
    epoch: int

    @property
    def share(self) -> float:
        """Part of the run that is done, 0 to 1."""
        return self.step / self.steps


@dataclass(frozen=True)
class LossReport:
    """What a step has lost.

    Attributes:
        terms: weight and differentiable scalar of each part of the loss.
        shown: numbers worth writing down, tensors of any shape, of which the mean is written; the
            same names every step, as they are the columns of ``metrics.csv``.
    """

    terms: Sequence[tuple[float, Tensor]]
    shown: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def loss(self) -> Tensor:
        """The weighted sum."""
        (weight, whole), *rest = self.terms
        whole = whole if weight == 1 else weight * whole
        for weight, term in rest:
            whole = whole + weight * term
        return whole

    def read(self) -> tuple[float, dict[str, float]]:
        """The loss and what is shown, in one reading of the device."""
        parts = [self.loss.detach(), *(value.detach() for value in self.shown.values())]
        numbers = torch.cat([part.reshape(-1).double() for part in parts]).tolist()
        loss, rest, shown = numbers[0], numbers[1:], dict[str, float]()
        for name, value in self.shown.items():
            here, rest = rest[: value.numel()], rest[value.numel() :]
            shown[name] = sum(here) / len(here)
        return loss, shown


class Corpus(Protocol):
    """The data set of a run, as it is."""

    def encode(self, module: nn.Module) -> Tensor:
        """What a network gives for every image, unaugmented, in evaluation mode, (samples, dim)."""


@dataclass(frozen=True)
class Setting:
    """What an objective is made for.

    Attributes:
        samples: images of the data set.
        steps, steps_an_epoch: of the run.
        batch_size: of the global batch.
        size_px: side of a view.
        table: ``source`` and ``case`` by dataset index.
        relations: gives which samples lie near each other, by dataset index; see
            :mod:`histoscope.core.data.relations`.
        matched: whether the views have images that oppose them; a method that has negatives says
            in its needs that they repel.
        open: an encoder by the word of the command line, as a teacher; what it has seen counts as
            seen by the run.
        open_model: likewise a package and its task (None: the only one), as a module from images to
            the probability of each class, (batch, classes), whose ``dim`` is their number.
        seed: of what a method draws by itself once an epoch; what it draws each step it asks for.
    """

    samples: int
    steps: int
    steps_an_epoch: int
    batch_size: int
    size_px: int
    table: pa.Table
    relations: Callable[[], pa.Table]
    open: Callable[[str], nn.Module]
    open_model: Callable[[str, str | None], nn.Module]
    matched: bool = False
    seed: int = 0


class Uncast:
    """What of a part a wrapper of a network leaves as it is, whatever its precision."""

    def __init__(self, views: Views) -> None:
        self.draws, self.planes, self.known = views.draws, views.planes, views.known


class Objective(nn.Module):
    """A method of self-supervised learning, with all its state as parameters and buffers.

    A step is ``before_step``; then, for each part of the batch, ``project``; then ``loss`` on the
    projections of all parts of all processes; then the optimiser and ``after_step``. A method is
    such a class, called with an encoder, its settings and the setting.

    Attributes:
        settings: class of its settings.
        needs: what it wants from the loader and the loop.
        second: asks that stand for answers where it has none: what is asked of mixed images is
            answered by the others.
        answered: whether its loss knows what answers by the dataset index alone.
        paired: names of draws that must be the same for two images that are mixed.
        head_at: where in its state the projection head behind the published network lies.
    """

    settings: ClassVar[type[MethodSpec]]
    needs: Needs
    second: Sequence[str] = ()
    answered: ClassVar[bool] = False
    paired: Sequence[str] = ()
    head_at: ClassVar[str] = "projector"

    @classmethod
    def head_of(cls, spec: Any, dim: int) -> nn.Module | None:
        """A new projection head of the published network; None: the method does not tell.

        Args:
            spec: the method's settings.
            dim: width of the network's features.
        """
        return None

    @property
    def published(self) -> nn.Module:
        """The network that is saved: where there is a slow copy, maybe that."""
        network: nn.Module = self.get_submodule("encoder")
        return network

    def project(self, views: Views) -> Projected:
        """Projections of a part; calling twice changes nothing.

        Every trained parameter is used here. Of several processes each has a gradient for its own
        rows alone, and the loss is multiplied by their number: a predictor used in ``loss`` would
        get its whole gradient on each.
        """
        raise NotImplementedError

    def loss(
        self, projected: Projected, rows: Rows, draws: Mapping[str, Tensor], clock: Clock
    ) -> LossReport:
        """Loss of the global batch. Pure: changes no state, and may be called twice.

        Args:
            projected: as ``project`` gives them, of the whole batch in order.
            rows: of the batch.
            draws: the step's numbers, (batch,) or (1,).
            clock: where the run stands.
        """
        raise NotImplementedError

    def of_mixed(
        self,
        projected: Projected,
        rows: Rows,
        draws: Mapping[str, Tensor],
        clock: Clock,
        plain: LossReport,
    ) -> Tensor:
        """Loss of mixed views that are answered by one of their images; as :meth:`loss`.

        Args:
            projected, rows, draws, clock: as of ``loss``.
            plain: what it says of the views that are not mixed.
        """
        return self.loss(projected, rows, draws, clock).loss

    def recalled(self, asked: Tensor, target: Tensor) -> Tensor:
        """Loss of this kind between features and what a frozen network said of the same views.

        A method that has none is refused by ``continual``. As ``loss`` it uses no parameter.

        Args:
            asked: predictions of the target, (batch, views, dim).
            target: of the same width, without gradient.
        """
        raise NotImplementedError

    def begin_epoch(self, corpus: Corpus, clock: Clock) -> None:
        """What is made anew once an epoch, for example clusters of the data set's features."""

    def before_step(self, clock: Clock) -> None:
        """What moves before the projections, for example a slow copy of the network."""

    def after_step(self, projected: Projected, rows: Rows, clock: Clock) -> None:
        """What moves after the optimiser, for example keys that are enqueued."""

    def groups(self) -> Iterable[Group]:
        """Parameters with their own rates, decay and freezes."""
        return usual_groups(self)

    def forward(self, families: Any, rest: Uncast) -> dict[str, Mapping[str, Tensor]]:
        """:meth:`project` as wrappers of networks want it: no dataclass goes in or out."""
        projected = self.project(Views(families, rest.draws, rest.planes, rest.known))
        return {"asks": projected.asks, "answers": projected.answers}
