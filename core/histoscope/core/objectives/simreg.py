"""SimReg: a network learns to say of any view what a teacher says of the image as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from histoscope.core.encoders.contract import Encoder
from histoscope.core.errors import UsageError
from histoscope.core.losses.regression import regressed
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
from histoscope.core.objectives.heads import layered
from histoscope.core.objectives.spec import MethodSpec


class SimRegSpec(MethodSpec):
    """Settings of SimReg."""

    base: Literal["simreg"] = Field("simreg", description="the method")
    teacher: str | None = Field(
        None,
        description="whose features are learnt: a run, a package, what import-weights made, or "
        "timm:NAME",
    )
    hidden: int | None = Field(
        None,
        ge=8,
        description="width of the head's first and third layer; default: twice the encoder's",
    )


class SimReg(Objective):
    """Navaneet et al. 2021, "SimReg: Regression as a Simple Yet Effective Tool", eq. 1.

    2 - 2 cosine between a head of four linear layers on the network, batch norm and ReLU after the
    first and the third, and the teacher's features. These are of the image as it is, said once for
    the whole run (the paper's teacher sees the same view); a run that goes on has those it had. The
    head is thrown away.

    Args:
        encoder: images to features.
        spec: of teacher and head.
        setting: opens the teacher, whose data count as seen.

    Raises:
        UsageError: no teacher is named, or none is there.
    """

    settings: ClassVar[type[MethodSpec]] = SimRegSpec
    needs = Needs(families={"global": 1})
    answered = True
    targets: Tensor

    def __init__(self, encoder: Encoder, spec: SimRegSpec, setting: Setting) -> None:
        super().__init__()
        if not spec.teacher:
            raise UsageError(
                "objective.teacher: simreg learns what another network says; "
                "--set objective.teacher=RUN, or a package, or timm:NAME"
            )
        teacher = setting.open(spec.teacher)
        self._teacher = [teacher]  # in a list: no part of the method's state
        wide, hidden = cast(Encoder, teacher).dim, spec.hidden or 2 * encoder.dim
        self.encoder = encoder
        self.head = nn.Sequential(
            layered([encoder.dim, hidden, encoder.dim]), layered([encoder.dim, hidden, wide])
        )
        self.register_buffer("targets", torch.zeros(setting.samples, wide))

    def begin_epoch(self, corpus: Corpus, clock: Clock) -> None:
        """Ask the teacher once of all images, and let it go."""
        if clock.epoch == 0:
            self.targets.copy_(corpus.encode(self._teacher.pop()))

    def project(self, views: Views) -> Projected:
        """What the head makes of the view."""
        (images,) = views.families["global"]
        asked = self.head(self.encoder(images))
        return Projected({"asked": asked[:, None]})

    def loss(
        self, projected: Projected, rows: Rows, draws: Mapping[str, Tensor], clock: Clock
    ) -> LossReport:
        """Mean over images of 2 - 2 cosine to what the teacher said of them."""
        lost = regressed(projected.asks["asked"][:, 0], self.targets[rows.index]).mean()
        return LossReport([(1, lost)], {"taught_cosine": 1 - lost.detach() / 2})
