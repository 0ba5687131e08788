"""DINO: every crop predicts what a slow copy, centred and sharpened, says of the large ones."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from histoscope.core.config import Spec
from histoscope.core.encoders.contract import Encoder
from histoscope.core.losses.clusters import across
from histoscope.core.losses.regression import unit
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
from histoscope.core.optim.groups import Group, usual_groups

LARGE = 2


class TeacherSpec(Spec):
    """The slow copy, and how its answers are made into targets."""

    momentum: SlowSpec = Field(SlowSpec(end=None), description="of the copy")
    temperature: float = Field(0.04, gt=0, description="of targets; smaller is sharper")
    last_temperature: float = Field(0.07, gt=0, description="after the warm-up")
    warmup: float = Field(0.3, ge=0, le=1, description="share of the run that leads there")
    centre: float = Field(0.9, ge=0, lt=1, description="part of the centre kept each step")

    def temperature_at(self, share: float) -> float:
        """Of targets when so much of the run is done: a straight line, then constant."""
        gone = min(1.0, share / self.warmup) if self.warmup else 1.0
        return self.temperature + gone * (self.last_temperature - self.temperature)


class DINOSpec(MethodSpec):
    """Settings of DINO."""

    base: Literal["dino"] = Field("dino", description="the method")
    temperature: float = Field(0.1, gt=0, description="of the student")
    projector: ProjectorSpec = Field(ProjectorSpec(), description="head before the prototypes")
    prototypes: int = Field(1024, ge=2, description="width of the softmax")
    frozen: float = Field(0.01, ge=0, lt=1, description="share of the run the last layer stays")
    teacher: TeacherSpec = Field(TeacherSpec(), description="slow copy, targets, centre")
    local: int = Field(0, ge=0, description="small crops beside the two, views of the family local")


class Prototypes(nn.Module):
    """A linear layer of unit vectors on unit rows, without bias: a weight norm of 1."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.Linear(width, count, bias=False).weight.detach().clone())

    def forward(self, rows: Tensor) -> Tensor:
        """(rows, width) to cosines, (rows, count)."""
        return unit(rows).to(self.weight.dtype) @ normalize(self.weight, dim=1).T


class DINO(Objective):
    """Caron et al. 2021, "Emerging Properties in Self-Supervised Vision Transformers", eq. 3.

    The head has batch norm, as networks with it want (the paper's has none for transformers). The
    slow copy is saved. The centre moves after the step, from the answers of all processes.

    Args:
        encoder: images to features.
        spec: of head, targets and crops.
        setting: any.
    """

    settings: ClassVar[type[MethodSpec]] = DINOSpec
    head_at = "slow.1"

    centre: Tensor

    def __init__(self, encoder: Encoder, spec: DINOSpec, setting: Setting) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = self.head_of(spec, encoder.dim)
        self.prototypes = Prototypes(spec.projector.out, spec.prototypes)
        network = nn.Sequential(cast(nn.Module, encoder), self.projector, self.prototypes)
        self.slow = copy.deepcopy(network).requires_grad_(False)
        self.register_buffer("centre", torch.zeros(spec.prototypes))
        families = {"global": LARGE} | ({"local": spec.local} if spec.local else {})
        self.needs, self.spec = Needs(families=families), spec

    @classmethod
    def head_of(cls, spec: DINOSpec, dim: int) -> nn.Module:
        """Three layers before the prototypes."""
        hidden = spec.projector.hidden
        return layered([dim, hidden, hidden, spec.projector.out])

    @property
    def published(self) -> nn.Module:
        """The slow copy's network."""
        return self.slow[0]

    def before_step(self, clock: Clock) -> None:
        """Slow copy <- kept · slow copy + (1 - kept) · network, parameters only."""
        fast = [
            *cast(nn.Module, self.encoder).parameters(),
            *self.projector.parameters(),
            *self.prototypes.parameters(),
        ]
        kept = self.spec.teacher.momentum.kept_at(clock.step, clock.steps)
        move_towards(self.slow.parameters(), fast, 1 - kept)

    def project(self, views: Views) -> Projected:
        """What the network says of all crops, the large ones first, and the copy of those."""
        images = [*views.families["global"], *views.families.get("local", ())]
        asks = [self.prototypes(self.projector(self.encoder(view))) for view in images]
        with torch.no_grad():
            answers = [self.slow(view) for view in views.families["global"]]
        return Projected({"asks": torch.stack(asks, 1)}, {"answers": torch.stack(answers, 1)})

    def loss(
        self, projected: Projected, rows: Rows, draws: Mapping[str, Tensor], clock: Clock
    ) -> LossReport:
        """Mean over pairs of a large crop and another of the cross-entropy."""
        asks, answers = projected.asks["asks"], projected.answers["answers"]
        answers = answers if answers.dtype == torch.float64 else answers.float()
        sharp = self.spec.teacher.temperature_at(clock.share)
        targets = ((answers - self.centre) / sharp).softmax(-1)
        loss = across(targets, asks, self.spec.temperature)
        entropy = -(targets * targets.clamp(min=1e-12).log()).sum(-1).mean()
        return LossReport([(1, loss)], {"teacher_entropy": entropy})

    def after_step(self, projected: Projected, rows: Rows, clock: Clock) -> None:
        """Centre <- kept · centre + (1 - kept) · mean answer (eq. 4)."""
        mean = projected.answers["answers"].flatten(0, 1).to(self.centre.dtype).mean(0)
        self.centre.lerp_(mean, 1 - self.spec.teacher.centre)

    def groups(self) -> list[Group]:
        """The last layer stays as it is at first, and is not decayed: only its direction counts."""
        last = list(self.prototypes.parameters())
        others = [
            *usual_groups(self.get_submodule("encoder")),
            *usual_groups(self.projector),
        ]
        return [*others, Group(last, decay=False, frozen_until=self.spec.frozen)]
