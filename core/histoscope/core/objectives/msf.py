"""MSF: each view is pulled to the nearest neighbours of what a slow copy says of the other."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from histoscope.core.config import Spec
from histoscope.core.encoders.contract import Encoder
from histoscope.core.losses.regression import regressed, to_neighbours, unit
from histoscope.core.memory.queue import FeatureQueue, check_rows
from histoscope.core.objectives.contract import (
    Clock,
    LossReport,
    Needs,
    Objective,
    Projected,
    Rows,
    Setting,
    Views,
)
from histoscope.core.objectives.heads import layered
from histoscope.core.objectives.spec import MethodSpec, ProjectorSpec, SlowSpec
from histoscope.core.optim.ema import move_towards


class NeighboursSpec(Spec):
    """Whom a view is pulled to."""

    count: int = Field(5, ge=1, description="nearest, the other view's target among them")
    rows: int = Field(1024, ge=1, description="targets that are remembered")
    alone: float = Field(
        0.1, ge=0, le=1, description="share of the run in which the own target is the only one"
    )


class MeanShiftSpec(MethodSpec):
    """Settings that MSF and what builds on it share."""

    projector: ProjectorSpec = Field(ProjectorSpec(), description="projection and prediction head")
    momentum: SlowSpec = Field(SlowSpec(end=None), description="the slow copy")
    neighbours: NeighboursSpec = Field(NeighboursSpec(), description="whom a view is pulled to")


class MSFSpec(MeanShiftSpec):
    """Settings of MSF."""

    base: Literal["msf"] = Field("msf", description="the method")


@dataclass(frozen=True)
class Candidates:
    """Whom the targets of a step may be neighbours of.

    Attributes:
        asked, target: predictions and what they are pulled to, at unit length, (batch, dim).
        columns: the targets and those that are remembered, (columns, dim).
        index: dataset index of each, int64, (columns,); -1: nobody's.
        cosines: of targets and columns; -inf with the own image and nobody, (batch, columns).
    """

    asked: Tensor
    target: Tensor
    columns: Tensor
    index: Tensor
    cosines: Tensor


class MSF(Objective):
    """Koohpayegani et al. 2021, "Mean Shift for Self-Supervised Learning", eq. 1.

    One direction, as there: the second view asks, the first one's target looks for neighbours. The
    targets of this step stand beside the memory (the paper's code enqueues them first, which is the
    same but for its oldest rows); memories of the own image are no neighbours. The slow copy is
    saved.

    Args:
        encoder: images to features.
        spec: of heads, slow copy and memory.
        setting: how many samples there are.

    Raises:
        UsageError: the memory holds more than half of the samples, or less than a batch.
    """

    settings: ClassVar[type[MethodSpec]] = MSFSpec
    head_at = "slow.1"
    needs = Needs()

    def __init__(self, encoder: Encoder, spec: MeanShiftSpec, setting: Setting) -> None:
        super().__init__()
        held = spec.neighbours.rows
        check_rows("objective.neighbours.rows", held, setting.samples, setting.batch_size)
        hidden, out = spec.projector.hidden, spec.projector.out
        self.encoder = encoder
        self.projector = self.head_of(spec, encoder.dim)
        self.predictor = layered([out, hidden, out])
        network = nn.Sequential(cast(nn.Module, encoder), self.projector)
        self.slow = copy.deepcopy(network).requires_grad_(False)
        self.memory = FeatureQueue(held, out)
        self.spec = spec

    @classmethod
    def head_of(cls, spec: MeanShiftSpec, dim: int) -> nn.Module:
        """Two layers; what predicts stands behind it."""
        return layered([dim, spec.projector.hidden, spec.projector.out])

    @property
    def published(self) -> nn.Module:
        """The slow copy's network."""
        return self.slow[0]

    def before_step(self, clock: Clock) -> None:
        """Slow copy <- kept · slow copy + (1 - kept) · network, parameters only."""
        fast = [*cast(nn.Module, self.encoder).parameters(), *self.projector.parameters()]
        kept = self.spec.momentum.kept_at(clock.step, clock.steps)
        move_towards(self.slow.parameters(), fast, 1 - kept)

    def project(self, views: Views) -> Projected:
        """Predictions of the second view, and the slow copy's targets of the first."""
        first, second = views.families["global"]
        asked = self.predictor(self.projector(self.encoder(second)))
        with torch.no_grad():
            target = unit(self.slow(first))
        return Projected({"asked": asked[:, None]}, {"target": target[:, None]})

    def candidates(self, projected: Projected, rows: Rows) -> Candidates:
        """The targets of this step beside the memory."""
        asked, target = unit(projected.asks["asked"][:, 0]), projected.answers["target"][:, 0]
        target = target.to(asked.dtype)
        columns = torch.cat([target, self.memory.features.to(asked.dtype)])
        index = torch.cat([rows.index, self.memory.index])
        barred = (index[None] == rows.index[:, None]) | (index < 0)[None]
        cosines = (target @ columns.T).masked_fill_(barred, -torch.inf)
        return Candidates(asked, target, columns, index, cosines)

    def pulled(self, given: Candidates, cosines: Tensor, clock: Clock) -> tuple[Tensor, Tensor]:
        """Rows of the distance to the nearest by some cosines, and how many they are."""
        told = self.spec.neighbours
        count = 1 if clock.share < told.alone else told.count
        return to_neighbours(given.asked, given.target, given.columns, cosines, count)

    def loss(
        self, projected: Projected, rows: Rows, draws: Mapping[str, Tensor], clock: Clock
    ) -> LossReport:
        """Mean over the neighbours of each target of 2 - 2 cosine to the prediction."""
        given = self.candidates(projected, rows)
        lost, held = self.pulled(given, given.cosines, clock)
        return LossReport([(1, lost.mean())], {"neighbours": held.double().mean()})

    def after_step(self, projected: Projected, rows: Rows, clock: Clock) -> None:
        """Remember the targets of this step, of all processes."""
        self.memory.put(projected.answers["target"][:, 0], rows.index)

    def recalled(self, asked: Tensor, target: Tensor) -> Tensor:
        """Mean over images and views of 2 - 2 cosine."""
        return regressed(asked, target).mean()
