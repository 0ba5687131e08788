"""SwAV: each view predicts to which prototypes the others were assigned, evenly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from histoscope.core.config import Spec
from histoscope.core.encoders.contract import Encoder
from histoscope.core.errors import UsageError
from histoscope.core.losses.clusters import across, sinkhorn
from histoscope.core.losses.regression import unit
from histoscope.core.memory.queue import FeatureQueue
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
from histoscope.core.optim.groups import Group, usual_groups

CODED = 2  # crops that are assigned


class CodesSpec(Spec):
    """How crops are assigned to prototypes."""

    prototypes: int = Field(128, ge=2, description="how many, at most a batch and the queue")
    epsilon: float = Field(0.05, gt=0, description="of Sinkhorn; smaller is sharper")
    rounds: int = Field(3, ge=1, description="of Sinkhorn")
    frozen: float = Field(0.01, ge=0, lt=1, description="share of the run they stay as they are")
    queue: int = Field(
        0, ge=0, description="earlier images that codes are made even over, of each coded crop"
    )
    queue_from: float = Field(0.15, ge=0, le=1, description="share of the run before it is used")


class SwAVSpec(MethodSpec):
    """Settings of SwAV."""

    base: Literal["swav"] = Field("swav", description="the method")
    temperature: float = Field(0.1, gt=0, description="divides scores of prototypes")
    projector: ProjectorSpec = Field(ProjectorSpec(), description="projection head")
    codes: CodesSpec = Field(CodesSpec(), description="prototypes, Sinkhorn, queue")
    local: int = Field(0, ge=0, description="small crops beside the two, views of the family local")


class SwAV(Objective):
    """Caron et al. 2020, "Unsupervised Learning by Contrasting Cluster Assignments", eq. 2 and 3.

    The mean over both coded crops and all other crops. Codes are of the global batch; with a queue
    over what it holds, too, scored with the prototypes of this step. Prototypes have rows at unit
    length before each step.

    Args:
        encoder: images to features.
        spec: of the head, prototypes and crops.
        setting: the size of a batch.

    Raises:
        UsageError: more prototypes than rows that are assigned at once: no even codes.
    """

    settings: ClassVar[type[MethodSpec]] = SwAVSpec

    def __init__(self, encoder: Encoder, spec: SwAVSpec, setting: Setting) -> None:
        super().__init__()
        codes, width = spec.codes, spec.projector.out
        rows = setting.batch_size + codes.queue
        if codes.prototypes > rows:
            raise UsageError(
                f"objective.codes.prototypes: {codes.prototypes} are more than the {rows} images "
                "of a batch and the queue, over which they cannot be used alike; --set "
                f"objective.codes.prototypes={rows}, or a larger objective.codes.queue"
            )
        if codes.queue > setting.samples // 2:
            raise UsageError(
                f"objective.codes.queue: {codes.queue} is more than half of {setting.samples} "
                f"samples; --set objective.codes.queue={setting.samples // 2}"
            )
        self.encoder = encoder
        self.projector = self.head_of(spec, encoder.dim)
        self.prototypes = nn.Linear(width, codes.prototypes, bias=False)
        self.queues = nn.ModuleList(
            [FeatureQueue(codes.queue, width) for _ in range(CODED if codes.queue else 0)]
        )
        families = {"global": CODED} | ({"local": spec.local} if spec.local else {})
        self.needs, self.spec = Needs(families=families), spec
        self._batch = setting.batch_size

    @classmethod
    def head_of(cls, spec: SwAVSpec, dim: int) -> nn.Module:
        """Two layers before the prototypes."""
        return layered([dim, spec.projector.hidden, spec.projector.out])

    def before_step(self, clock: Clock) -> None:
        """Prototypes at unit length."""
        self.prototypes.weight.copy_(normalize(self.prototypes.weight, dim=1))

    def project(self, views: Views) -> Projected:
        """Scores of all crops, the two coded ones first; and these as they are assigned."""
        images = [*views.families["global"], *views.families.get("local", ())]
        passed = [unit(self.projector(self.encoder(view))) for view in images]
        scores = [self.prototypes(rows.to(self.prototypes.weight.dtype)) for rows in passed]
        kept = {"coded": torch.stack([rows.detach() for rows in passed[:CODED]], 1)}
        return Projected({"scores": torch.stack(scores, 1)}, kept)

    def loss(
        self, projected: Projected, rows: Rows, draws: Mapping[str, Tensor], clock: Clock
    ) -> LossReport:
        """Mean over coded crops and all other crops of the cross-entropy."""
        scores, coded = projected.asks["scores"], projected.answers["coded"]
        each = [self._codes(coded[:, crop], crop, clock) for crop in range(CODED)]
        codes = torch.stack(each, 1)
        used = codes.mean((0, 1))
        spread = -(used * used.clamp(min=1e-12).log()).sum()
        loss = across(codes, scores, self.spec.temperature)
        return LossReport([(1, loss)], {"used_prototypes": spread.exp()})

    def after_step(self, projected: Projected, rows: Rows, clock: Clock) -> None:
        """Enqueue the coded crops of this step."""
        for crop, queue in enumerate(self.queues):
            assert isinstance(queue, FeatureQueue)
            queue.put(projected.answers["coded"][:, crop], rows.index)

    def groups(self) -> list[Group]:
        """Prototypes stay as they are at first, and are not decayed."""
        still = list(self.prototypes.parameters())
        others = [
            *usual_groups(self.get_submodule("encoder")),
            *usual_groups(self.projector),
        ]
        return [*others, Group(still, decay=False, frozen_until=self.spec.codes.frozen)]

    def _codes(self, rows: Tensor, crop: int, clock: Clock) -> Tensor:
        """Codes of a crop; where the queue is full and it is time, even over it, too."""
        codes, full = self.spec.codes, clock.step * self._batch >= self.spec.codes.queue
        assigned = [rows]
        if self.queues and full and clock.share >= codes.queue_from:
            queue = self.queues[crop]
            assert isinstance(queue, FeatureQueue)
            assigned.append(queue.features.to(rows.dtype))
        weight = self.prototypes.weight.detach().to(rows.dtype)
        scores = torch.cat([part @ weight.T for part in assigned])
        return sinkhorn(scores, codes.epsilon, codes.rounds)[: self._batch]
