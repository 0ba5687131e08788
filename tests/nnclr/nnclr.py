"""NNCLR, Dwibedi et al. 2021, "With a Little Help from My Friends", arXiv 2104.14548."""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from histoscope.core.losses.contrast import against_queue, infonce
from histoscope.core.losses.regression import unit
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
from histoscope.core.objectives.spec import MethodSpec


class NNCLRSpec(MethodSpec):
    """Settings of NNCLR."""

    base: Literal["nnclr"] = Field("nnclr", description="the method")
    width: int = Field(128, ge=2, description="of a projection")
    hidden: int = Field(512, ge=2, description="width inside projector and predictor")
    queue: int = Field(1024, ge=1, description="past projections, of which the nearest is taken")
    temperature: float = Field(0.1, gt=0, description="what similarities are divided by")


class NNCLR(Objective):
    """Eq. 3 of Dwibedi et al. 2021: the prediction of a view finds the other's neighbour.

    As in algorithm 1 of the paper it is taken in both directions, and the queue gets the
    projections of the first view. Memories of the own image are no neighbours.
    """

    settings: ClassVar[type[MethodSpec]] = NNCLRSpec
    needs = Needs(families={"global": 2})

    def __init__(self, encoder: nn.Module, spec: NNCLRSpec, setting: Setting) -> None:
        super().__init__()
        check_rows("objective.queue", spec.queue, setting.samples, setting.batch_size)
        self.encoder = encoder
        self.projector = layered([encoder.dim, spec.hidden, spec.width])
        self.predictor = layered([spec.width, spec.hidden, spec.width])
        self.queue = FeatureQueue(spec.queue, spec.width)
        self.temperature = spec.temperature

    def project(self, views: Views) -> Projected:
        """Predictions of both views ask; their projections answer."""
        asks, answers = {}, {}
        for name, images in zip(("first", "second"), views.families["global"], strict=True):
            projection = self.projector(self.encoder(images))
            asks[name] = unit(self.predictor(projection))[:, None]
            answers[name] = unit(projection.detach())[:, None]
        return Projected(asks, answers)

    def nearest(self, projection: Tensor, index: Tensor) -> Tensor:
        """Eq. 2, in the queue; the row itself as long as no other image is in there."""
        held = self.queue.index
        others = (held >= 0)[None] & (held[None] != index[:, None])
        sim = (projection @ self.queue.features.T).masked_fill(~others, -torch.inf)
        found = self.queue.features[sim.argmax(dim=1)]
        return torch.where(others.any(dim=1, keepdim=True), found, projection)

    def loss(self, projected: Projected, rows: Rows, draws: dict, clock: Clock) -> LossReport:
        """Half the sum of both directions; repelled are the predictions of other images."""
        half, near = [], []
        for one, other in (("first", "second"), ("second", "first")):
            own = projected.answers[one][:, 0]
            predicted = projected.asks[other][:, 0]
            friend = self.nearest(own, rows.index)
            sim = against_queue(friend, predicted, rows.index, predicted, rows.index)
            half.append(infonce(sim, self.temperature).mean())
            near.append((own * friend).sum(dim=1).mean())
        return LossReport([(0.5, half[0]), (0.5, half[1])], {"nearest": (near[0] + near[1]) / 2})

    def after_step(self, projected: Projected, rows: Rows, clock: Clock) -> None:
        """The first view's projections of the step join the queue."""
        self.queue.put(projected.answers["first"][:, 0], rows.index)
