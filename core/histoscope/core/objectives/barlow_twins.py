"""Barlow Twins: views agree feature by feature, and features tell different things."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from histoscope.core.encoders.contract import Encoder
from histoscope.core.losses.decorrelation import cross_correlation, decorrelated
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
from histoscope.core.objectives.spec import MethodSpec, ProjectorSpec

VIEWS = ("view 0", "view 1")


class BarlowTwinsSpec(MethodSpec):
    """Settings of Barlow Twins."""

    base: Literal["barlow_twins"] = Field("barlow_twins", description="the method")
    projector: ProjectorSpec = Field(
        ProjectorSpec(hidden=512, out=256), description="three layers; wider than the batch is idle"
    )
    redundancy: float = Field(
        0.005, ge=0, description="weight of correlations between different features"
    )
    scale: float = Field(
        0.02, gt=0, description="of the loss, which grows with the width of the projection"
    )


class BarlowTwins(Objective):
    """Zbontar et al. 2021, "Barlow Twins", eq. 1, over the global batch.

    The weight is the paper's 0.005 (its code has 0.0051).

    Args:
        encoder: images to features.
        spec: of the head and the loss.
        setting: any.
    """

    settings: ClassVar[type[MethodSpec]] = BarlowTwinsSpec
    needs = Needs()
    second = VIEWS[1:]

    def __init__(self, encoder: Encoder, spec: BarlowTwinsSpec, setting: Setting) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = self.head_of(spec, encoder.dim)
        self.spec = spec

    @classmethod
    def head_of(cls, spec: BarlowTwinsSpec, dim: int) -> nn.Module:
        """Three layers."""
        hidden = spec.projector.hidden
        return layered([dim, hidden, hidden, spec.projector.out])

    def project(self, views: Views) -> Projected:
        """Both views, passed one after the other, as separate BN batches."""
        passed = [self.projector(self.encoder(view)) for view in views.families["global"]]
        return Projected({name: rows[:, None] for name, rows in zip(VIEWS, passed, strict=True)})

    def loss(
        self, projected: Projected, rows: Rows, draws: Mapping[str, Tensor], clock: Clock
    ) -> LossReport:
        """Of the whole batch at once."""
        first, second = (projected.asks[name].squeeze(1) for name in VIEWS)
        correlation = cross_correlation(first, second)
        loss = decorrelated(correlation, self.spec.redundancy)
        agreement = correlation.detach().diagonal().mean()
        return LossReport([(self.spec.scale, loss)], {"agreement": agreement})

    def recalled(self, asked: Tensor, target: Tensor) -> Tensor:
        """As between two views, mean over the views."""
        found = [
            decorrelated(cross_correlation(one, other), self.spec.redundancy)
            for one, other in zip(asked.unbind(1), target.unbind(1), strict=True)
        ]
        return self.spec.scale * torch.stack(found).mean()
