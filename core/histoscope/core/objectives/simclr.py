"""SimCLR: two views of an image attract, all other views of the batch repel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from histoscope.core.encoders.contract import Encoder
from histoscope.core.losses.contrast import Similarities, in_batch
from histoscope.core.losses.regression import unit
from histoscope.core.objectives.contract import Needs, Projected, Rows, Setting, Views
from histoscope.core.objectives.contrastive import (
    KNOWN,
    MATCHED,
    PARTNERS,
    SUPPORT,
    Contrastive,
)
from histoscope.core.objectives.heads import projector
from histoscope.core.objectives.spec import ContrastSpec, MethodSpec

VIEWS = ("view 0", "view 1")  # apart, so that gradients lie in memory as the network wants them
OF_MOMENTUM = {"rate", "rows", "groups", "symmetric"}


class SimCLRSpec(ContrastSpec):
    """Settings of SimCLR."""

    base: Literal["simclr"] = Field("simclr", description="the method")

    @classmethod
    def long_form(cls, given: Any) -> Any:
        """Older resolved files hold MoCo's settings for SimCLR, too, which never did anything.

        They say ``negatives: in_batch``, which is no choice here.
        """
        if not isinstance(given, Mapping):
            return given
        momentum = given.get("momentum")
        idle = (
            {"momentum"}
            if isinstance(momentum, Mapping) and set(momentum) == OF_MOMENTUM
            else set()
        )
        idle |= {"negatives"} if given.get("negatives") == "in_batch" else set()
        return {name: value for name, value in given.items() if name not in idle}


class SimCLR(Contrastive):
    """Chen et al. 2020, "A Simple Framework for Contrastive Learning", eq. 1, mean over rows.

    Args:
        encoder: images to features.
        spec: temperature, reduction and head.
        setting: any.
    """

    settings: ClassVar[type[MethodSpec]] = SimCLRSpec
    second = (VIEWS[1], PARTNERS)

    def __init__(self, encoder: Encoder, spec: SimCLRSpec, setting: Setting) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = self.head_of(spec, encoder.dim)
        self.spec = spec
        self.choose(Needs(), setting, negatives=2 * setting.batch_size - 2)

    @classmethod
    def head_of(cls, spec: SimCLRSpec, dim: int) -> nn.Module:
        """Two layers."""
        return projector(dim, spec.projector)

    def project(self, views: Views) -> Projected:
        """All views, passed one after the other, as separate BN batches."""
        images = [*views.families["global"], *views.families.get(PARTNERS, ())]
        first, second, *near = (self.projector(self.encoder(view)) for view in images)
        beside = {PARTNERS: torch.stack(near, 1)} if near else {}
        asks = {VIEWS[0]: first[:, None], VIEWS[1]: second[:, None], **beside}
        answers = {}
        if MATCHED in views.families:
            against = [self.projector(self.encoder(view)) for view in views.families[MATCHED]]
            asks[MATCHED] = torch.stack(against, 1)
            answers[KNOWN] = torch.stack([*views.known[MATCHED]], 1)[..., None].to(first.dtype)
        if SUPPORT in views.families:
            with torch.no_grad():
                more = [unit(self.projector(self.encoder(v))) for v in views.families[SUPPORT]]
            answers[SUPPORT] = torch.stack(more, 1)
        return Projected(asks, answers)

    def seconds(self, projected: Projected) -> Tensor:
        """Partners, with their gradient."""
        return projected.asks[PARTNERS]

    def said(self, projected: Projected) -> Tensor:
        """Both views."""
        return unit(torch.cat([projected.asks[name] for name in VIEWS], 1))

    def compare(self, projected: Projected, rows: Rows) -> list[Similarities]:
        """Both views of all images with each other."""
        first, second = (projected.asks[name].squeeze(1) for name in VIEWS)
        return [in_batch(first, second, rows.index)]
