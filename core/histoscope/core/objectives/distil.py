"""SimCLRv2's distillation: a network learns of unlabelled images what a model answers of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from histoscope.core.encoders.contract import Encoder
from histoscope.core.errors import UsageError
from histoscope.core.losses.clusters import predicted
from histoscope.core.losses.distillation import tempered
from histoscope.core.objectives.contract import (
    Clock,
    Corpus,
    LossReport,
    Needs,
    Objective,
    Projected,
    Rows,
    Setting,
    Views,
)
from histoscope.core.objectives.spec import MethodSpec


class DistilSpec(MethodSpec):
    """Settings of the distillation."""

    base: Literal["distil"] = Field("distil", description="the method")
    teacher: str | None = Field(
        None, description="whose answers are learnt: a package with a head of samples"
    )
    task: str | None = Field(
        None, description="of distil: which of the package's is learnt; default: its only one"
    )
    temperature: float = Field(
        1.0, gt=0, description="of both softmaxes: the teacher's and the student's; no unit"
    )


class Distil(Objective):
    """Chen et al. 2020, "Big Self-Supervised Models are Strong Semi-Supervised Learners", eq. 2.

    Cross-entropy between the teacher's classes and those of a linear layer on the network, both at
    the same temperature, of images without labels. The teacher is asked once, of every image as it
    is (the paper's sees the student's view), its scores calibrated as its package has them; a run
    that goes on has those it had. The loss is not multiplied by the temperature's square, as there.
    The linear layer is thrown away: ``finetune`` makes another.

    Args:
        encoder: images to features.
        spec: of the teacher.
        setting: opens the package, whose data count as seen.

    Raises:
        UsageError: no package is named or there, or it has no such task.
    """

    settings: ClassVar[type[MethodSpec]] = DistilSpec
    needs = Needs(families={"global": 1})
    answered = True
    targets: Tensor

    def __init__(self, encoder: Encoder, spec: DistilSpec, setting: Setting) -> None:
        super().__init__()
        if not spec.teacher:
            raise UsageError(
                "objective.teacher: distil learns what a model answers; --set "
                "objective.teacher=PACKAGE, which finetune makes"
            )
        teacher = setting.open_model(spec.teacher, spec.task)
        self._teacher = [teacher]  # in a list: no part of the method's state
        classes = cast(int, teacher.dim)
        self.encoder, self._temperature = encoder, spec.temperature
        self.head = nn.Linear(encoder.dim, classes)
        self.register_buffer("targets", torch.zeros(setting.samples, classes))

    def begin_epoch(self, corpus: Corpus, clock: Clock) -> None:
        """Ask the teacher once of all images, and let it go."""
        if clock.epoch == 0:
            said = corpus.encode(self._teacher.pop())
            self.targets.copy_(tempered(said, self._temperature))

    def project(self, views: Views) -> Projected:
        """Logits of the view."""
        (images,) = views.families["global"]
        asked = self.head(self.encoder(images))
        return Projected({"asked": asked[:, None]})

    def loss(
        self, projected: Projected, rows: Rows, draws: Mapping[str, Tensor], clock: Clock
    ) -> LossReport:
        """Mean cross-entropy over images; shown is by how much it is above the least there is."""
        targets = self.targets[rows.index]
        lost = predicted(targets, projected.asks["asked"][:, 0], self._temperature)
        apart = lost.detach() - torch.special.entr(targets).sum(1)
        return LossReport([(1, lost.mean())], {"divergence": apart})
