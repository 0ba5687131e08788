"""What an objective asks of the loop, what it is given, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch


@dataclass(frozen=True)
class ViewNeeds:
    """What an objective wants from the loader and the loop.

    Attributes:
        global_views: how many views of an image.
        permutations: names of permutations of each part of a batch, wanted drawn each step.
        memory_rows: features of earlier batches that it holds.
        least_part: images that must pass the network at once for batch norm to see two.
    """

    global_views: int = 2
    permutations: Sequence[str] = ()
    memory_rows: int = 0
    least_part: int = 2


@dataclass(frozen=True)
class Views:
    """One batch, or the part of it that passes the network at once.

    Attributes:
        index: dataset index of each image, int64, (batch,).
        global_views: one float tensor a view, (batch, 3, height, width), RGB in 0..1.
        permutations: name to int64 (batch,), drawn for this step.
    """

    index: torch.Tensor
    global_views: Sequence[torch.Tensor]
    permutations: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class LossReport:
    """A differentiable scalar and the numbers worth writing down."""

    loss: torch.Tensor
    terms: Mapping[str, float] = field(default_factory=dict)


class Objective(Protocol):
    """A method of self-supervised learning; also a ``torch.nn.Module`` with all its state.

    A step is ``before_step``; then, for each part of the batch, the call; then ``loss`` on the
    projections of all parts of all processes; then the optimiser and ``after_step``.

    Attributes:
        needs: what it wants from the loader and the loop.
    """

    needs: ViewNeeds

    def __call__(
        self, global_views: Sequence[torch.Tensor], permutations: Mapping[str, torch.Tensor]
    ) -> Sequence[torch.Tensor]:
        """Projections of a part, one (part, dim) tensor each; calling twice changes nothing."""

    def before_step(self, step: int) -> None:
        """What moves before the projections, for example a slow copy of the network."""

    def loss(
        self, projections: Sequence[torch.Tensor], index: torch.Tensor, step: int
    ) -> LossReport:
        """Loss of the global batch.

        Args:
            projections: as the call gives them, (batch, dim) each, of the whole batch in order.
            index: dataset index of each image, int64, (batch,).
            step: number of the step.
        """

    def after_step(self, step: int) -> None:
        """What moves after the optimiser, for example keys that are enqueued."""
