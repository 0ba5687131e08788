"""SimCLR: two views of an image attract, all other views of the batch repel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from torch import Tensor, nn

from histoscope.core.losses.contrast import decoupled, in_batch, infonce
from histoscope.core.objectives.contract import LossReport, ViewNeeds
from histoscope.core.objectives.heads import projector
from histoscope.core.objectives.spec import ObjectiveSpec


class SimCLR(nn.Module):
    """Chen et al. 2020, "A Simple Framework for Contrastive Learning", eq. 1, mean over rows.

    Args:
        encoder: images to features.
        dim: width of the features.
        spec: temperature, reduction and head.
    """

    needs = ViewNeeds(global_views=2)

    def __init__(self, encoder: nn.Module, dim: int, spec: ObjectiveSpec) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector(dim, spec.projector)
        self.spec = spec

    def before_step(self, step: int) -> None:
        """Nothing moves outside the optimiser."""

    def forward(
        self, global_views: Sequence[Tensor], permutations: Mapping[str, Tensor]
    ) -> list[Tensor]:
        """Projections of both views, passed one after the other, as separate BN batches."""
        return [cast(Tensor, self.projector(self.encoder(view))) for view in global_views]

    def loss(self, projections: Sequence[Tensor], index: Tensor, step: int) -> LossReport:
        """Mean over both views of all images."""
        sim = in_batch(*projections)
        reduce = infonce if self.spec.reduction == "infonce" else decoupled
        loss = reduce(sim, self.spec.temperature.value).mean()
        attraction = sim.logits[sim.positive].mean().item()
        return LossReport(loss, {"positive_cosine": attraction})

    def after_step(self, step: int) -> None:
        """Nothing moves outside the optimiser."""
