"""SimCLR: two views of an image attract, all other views of the batch repel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from histoscope.core.encoders.contract import Encoder
from histoscope.core.losses.contrast import in_batch, reduced
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
from histoscope.core.objectives.heads import projector
from histoscope.core.objectives.spec import ContrastSpec, MethodSpec

VIEWS = ("view 0", "view 1")  # apart, so that gradients lie in memory as the network wants them
OF_MOMENTUM = {"rate", "rows", "groups", "symmetric"}


class SimCLRSpec(ContrastSpec):
    """Settings of SimCLR."""

    base: Literal["simclr"] = Field("simclr", description="the method")
    negatives: Literal["in_batch"] | None = Field(None, description="where negatives come from")

    @classmethod
    def long_form(cls, given: Any) -> Any:
        """Older resolved files hold MoCo's settings for SimCLR, too, which never did anything."""
        momentum = given.get("momentum") if isinstance(given, Mapping) else None
        if isinstance(momentum, Mapping) and set(momentum) == OF_MOMENTUM:
            return {name: value for name, value in given.items() if name != "momentum"}
        return given


class SimCLR(Objective):
    """Chen et al. 2020, "A Simple Framework for Contrastive Learning", eq. 1, mean over rows.

    Args:
        encoder: images to features.
        spec: temperature, reduction and head.
        setting: any.
    """

    settings: ClassVar[type[MethodSpec]] = SimCLRSpec
    needs = Needs()

    def __init__(self, encoder: Encoder, spec: SimCLRSpec, setting: Setting) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector(encoder.dim, spec.projector)
        self.spec = spec

    def project(self, views: Views) -> Projected:
        """Both views, passed one after the other, as separate BN batches."""
        passed = [self.projector(self.encoder(view)) for view in views.families["global"]]
        return Projected({name: rows[:, None] for name, rows in zip(VIEWS, passed, strict=True)})

    def loss(
        self, projected: Projected, rows: Rows, draws: Mapping[str, Tensor], clock: Clock
    ) -> LossReport:
        """Mean over both views of all images."""
        first, second = (projected.asks[name].squeeze(1) for name in VIEWS)
        sim = in_batch(first, second, rows.index)
        loss = reduced(sim, self.spec.reduction, self.spec.temperature.value)
        return LossReport([(1, loss)], {"positive_cosine": sim.attraction().mean()})
