"""BYOL: one view predicts what a slow copy says of the other; nothing repels."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from histoscope.core.encoders.contract import Encoder
from histoscope.core.losses.regression import regressed
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

VIEWS = ("view 0", "view 1")


class BYOLSpec(MethodSpec):
    """Settings of BYOL."""

    base: Literal["byol"] = Field("byol", description="the method")
    projector: ProjectorSpec = Field(ProjectorSpec(), description="projection and prediction head")
    momentum: SlowSpec = Field(SlowSpec(), description="the slow copy")


class BYOL(Objective):
    """Grill et al. 2020, "Bootstrap Your Own Latent", eq. 2, both directions.

    The slow copy has no predictor; its parameters follow by a moving average, its batch norm sees
    the batch, as in the paper's code.

    Args:
        encoder: images to features.
        spec: of the heads and the slow copy.
        setting: any.
    """

    settings: ClassVar[type[MethodSpec]] = BYOLSpec
    needs = Needs()

    def __init__(self, encoder: Encoder, spec: BYOLSpec, setting: Setting) -> None:
        super().__init__()
        hidden, out = spec.projector.hidden, spec.projector.out
        self.encoder = encoder
        self.projector = self.head_of(spec, encoder.dim)
        self.predictor = layered([out, hidden, out])
        network = nn.Sequential(cast(nn.Module, encoder), self.projector)
        self.slow = copy.deepcopy(network).requires_grad_(False)
        self.spec = spec

    @classmethod
    def head_of(cls, spec: BYOLSpec, dim: int) -> nn.Module:
        """Two layers; what predicts stands behind it."""
        return layered([dim, spec.projector.hidden, spec.projector.out])

    def before_step(self, clock: Clock) -> None:
        """Slow copy <- kept · slow copy + (1 - kept) · network, parameters only."""
        fast = [*cast(nn.Module, self.encoder).parameters(), *self.projector.parameters()]
        kept = self.spec.momentum.kept_at(clock.step, clock.steps)
        move_towards(self.slow.parameters(), fast, 1 - kept)

    def project(self, views: Views) -> Projected:
        """Predictions of both views, and what the slow copy says of them."""
        images = views.families["global"]
        asks = [self.predictor(self.projector(self.encoder(view))) for view in images]
        with torch.no_grad():
            answers = [self.slow(view) for view in images]
        return Projected(
            {name: rows[:, None] for name, rows in zip(VIEWS, asks, strict=True)},
            {name: rows[:, None] for name, rows in zip(VIEWS, answers, strict=True)},
        )

    def loss(
        self, projected: Projected, rows: Rows, draws: Mapping[str, Tensor], clock: Clock
    ) -> LossReport:
        """Sum over both directions, mean over images."""
        first, second = VIEWS
        parts = [
            regressed(projected.asks[one], projected.answers[other]).mean()
            for one, other in ((first, second), (second, first))
        ]
        loss = parts[0] + parts[1]
        return LossReport([(1, loss)], {"predicted_cosine": 1 - loss.detach() / 4})

    def recalled(self, asked: Tensor, target: Tensor) -> Tensor:
        """Mean over images and views of 2 - 2 cosine."""
        return regressed(asked, target).mean()
