"""ReLICv2: every crop attracts what a slow copy says of the large ones, a few others repel."""

from __future__ import annotations

import copy
from typing import ClassVar, Literal, cast

import torch
from pydantic import Field, SerializeAsAny
from torch import Tensor, nn

from histoscope.core.encoders.contract import Encoder
from histoscope.core.errors import UsageError
from histoscope.core.losses.contrast import Similarities, against_queue
from histoscope.core.losses.regression import unit
from histoscope.core.objectives.choices import (
    ConsistencySpec,
    FixedTemperature,
    Invariance,
    NegativesSpec,
    Sampled,
    TemperatureSpec,
)
from histoscope.core.objectives.contract import Clock, Needs, Projected, Rows, Setting, Views
from histoscope.core.objectives.contrastive import PARTNERS, SUPPORT, Contrastive
from histoscope.core.objectives.heads import projector
from histoscope.core.objectives.spec import ContrastSpec, MethodSpec, SlowSpec
from histoscope.core.optim.ema import move_towards

TARGETS = "targets"


class ReLICv2Spec(ContrastSpec):
    """Settings of ReLICv2: its own choices, unless others are given."""

    base: Literal["relicv2"] = Field("relicv2", description="the method")
    temperature: SerializeAsAny[TemperatureSpec] = Field(
        FixedTemperature(value=0.3), description="number, name or long form"
    )
    negatives: SerializeAsAny[NegativesSpec] | None = Field(
        Sampled(), description="what is changed about negatives, name or long form"
    )
    consistency: SerializeAsAny[ConsistencySpec] | None = Field(
        Invariance(), description="what both views must agree on beside, name or long form"
    )
    momentum: SlowSpec = Field(SlowSpec(), description="the slow copy")
    large: int = Field(2, ge=2, description="usual views, which the slow copy sees")
    local: int = Field(0, ge=0, description="small crops beside the two, views of the family local")


class ReLICv2(Contrastive):
    """Tomasev et al. 2022, "Pushing the limits of self-supervised ResNets", section 3.

    The mean over all crops i and all large crops j, i itself among them (as in the paper's pseudo
    code), of -log p(crop i of the slow copy's crop j) with a few images of the batch as negatives,
    and the invariance of that p. By its defaults the choices are those of the paper; with
    ``negatives: null`` all images of the batch repel, with ``consistency: null`` or its weight 0 it
    is InfoNCE. One direction is one large crop j; its rows are all crops i, one after the other.

    Differs: a head of two layers; what is behind subjects is removed by the views' background.

    Args:
        encoder: images to features.
        spec: of crops, choices, head and slow copy.
        setting: the size of a batch.

    Raises:
        UsageError: a batch of one image, which nothing repels; views that are opposed.
    """

    settings: ClassVar[type[MethodSpec]] = ReLICv2Spec

    def __init__(self, encoder: Encoder, spec: ReLICv2Spec, setting: Setting) -> None:
        super().__init__()
        if setting.batch_size < 2:
            raise UsageError("in-batch negatives need at least 2 images a batch")
        if setting.matched:
            raise UsageError(
                "views.background: kind swap opposes a view by an image of its own, and relicv2 "
                "draws what repels; use kind remove"
            )
        self.encoder = encoder
        self.projector = self.head_of(spec, encoder.dim)
        network = nn.Sequential(cast(nn.Module, encoder), self.projector)
        self.slow = copy.deepcopy(network).requires_grad_(False)
        self.spec, self.momentum = spec, spec.momentum
        families = {"global": spec.large} | ({"local": spec.local} if spec.local else {})
        self.choose(Needs(families=families), setting, negatives=setting.batch_size - 1)

    @classmethod
    def head_of(cls, spec: ReLICv2Spec, dim: int) -> nn.Module:
        """Two layers."""
        return projector(dim, spec.projector)

    def before_step(self, clock: Clock) -> None:
        """Slow copy <- kept · slow copy + (1 - kept) · network, parameters only."""
        fast = [*cast(nn.Module, self.encoder).parameters(), *self.projector.parameters()]
        kept = self.momentum.kept_at(clock.step, clock.steps)
        move_towards(self.slow.parameters(), fast, 1 - kept)

    def project(self, views: Views) -> Projected:
        """What the network says of all crops, the large ones first, and the copy of those."""
        large, small = views.families["global"], views.families.get("local", ())
        asks = [self.projector(self.encoder(view)) for view in (*large, *small)]
        second = {name: views.families.get(name, ()) for name in (PARTNERS, SUPPORT)}
        with torch.no_grad():
            answers = {
                name: torch.stack([unit(self.slow(view)) for view in family], 1)
                for name, family in ({TARGETS: large} | second).items()
                if family
            }
        return Projected({f"crop {n}": rows[:, None] for n, rows in enumerate(asks)}, answers)

    def network(self) -> nn.Sequential:
        """The slow copy."""
        return self.slow

    def seconds(self, projected: Projected) -> Tensor:
        """What the slow copy says of partners."""
        return projected.answers[PARTNERS]

    def said(self, projected: Projected) -> Tensor:
        """What the slow copy says of large crops."""
        return projected.answers[TARGETS]

    def compare(self, projected: Projected, rows: Rows) -> list[Similarities]:
        """All crops with each large crop of all images."""
        asked = torch.cat([rows.squeeze(1) for rows in projected.asks.values()])
        crops = len(projected.asks)
        own = rows.index.repeat(crops)
        return [
            against_queue(asked, target.repeat(crops, 1), own, target, rows.index)
            for target in projected.answers[TARGETS].unbind(1)
        ]
