"""The grammar of objectives: a base and its choices, each with a short and a long form.

``temperature: 0.2`` is ``{kind: fixed, value: 0.2}``. Each method has settings of its own, a class
that its ``settings`` names; what several of them share stands here. Importing it loads no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, SerializeAsAny, model_validator

from histoscope.core.config import Spec
from histoscope.core.objectives import OBJECTIVES
from histoscope.core.objectives.choices import (
    AlignmentTemperature,
    ConsistencySpec,
    ContinualSpec,
    FalseNegatives,
    FixedTemperature,
    InterImage,
    MixingSpec,
    Near,
    NearestFeatures,
    NegativesSpec,
    OrderSpec,
    PositivesSpec,
    SyntheticSpec,
    TemperatureSpec,
)


class MethodSpec(Spec):
    """What is learnt without labels; further settings are those of the method.

    Attributes:
        base: name of the method.
    """

    base: str = Field("simclr", description="the method; it has the settings that stand below it")
    mixing: SerializeAsAny[MixingSpec] | None = Field(
        None, description="what is mixed, over any method, name or long form"
    )
    continual: SerializeAsAny[ContinualSpec] | None = Field(
        None, description="what is kept of what init has learnt, name or long form"
    )
    order: SerializeAsAny[OrderSpec] | None = Field(
        None, description="what is learnt of the order of a source's samples, name or long form"
    )

    @property
    def relations(self) -> dict[str, float]:
        """What it says of the domain's relations, by their names."""
        return {}

    @classmethod
    def chosen(cls, given: Any) -> type[Spec]:
        """The settings of the method that is named."""
        if cls is not MethodSpec or not isinstance(given, Mapping):
            return cls
        settings: type[Spec] = OBJECTIVES.load(str(given.get("base", "simclr"))).settings
        return settings


class ProjectorSpec(Spec):
    """The head that is thrown away after pretraining."""

    hidden: int = Field(512, ge=8, description="width of the hidden layer")
    out: int = Field(128, ge=2, description="width of a projection")


class SlowSpec(Spec):
    """A slow copy of the network, by a moving average of its parameters."""

    start: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="part of the slow copy kept at the first step; default by the run's length: "
        "1 - 10 / steps, at most 0.996",
    )
    end: float | None = Field(
        1.0, ge=0, le=1, description="at the last step, half a cosine leads there; null: it stays"
    )

    def kept_at(self, step: int, steps: int) -> float:
        """Part of the slow copy that a step keeps (Grill et al. 2020, section 3.3).

        The default moves it in any run: it forgets within a tenth of the steps.
        """
        start = max(0.0, min(0.996, 1 - 10 / steps)) if self.start is None else self.start
        end = start if self.end is None else self.end
        return end - (end - start) * 0.5 * (1 + math.cos(math.pi * step / steps))


class ContrastSpec(MethodSpec):
    """What contrastive methods share: a base and its choices."""

    reduction: Literal["infonce", "decoupled"] = Field(
        "infonce", description="decoupled: the positive is left out of the denominator"
    )
    temperature: SerializeAsAny[TemperatureSpec] = Field(
        FixedTemperature(), description="number, name or long form"
    )
    positives: SerializeAsAny[PositivesSpec] | None = Field(
        None, description="what attracts beside the own view, name or long form"
    )
    negatives: SerializeAsAny[NegativesSpec] | None = Field(
        None, description="what is changed about negatives, name or long form"
    )
    synthetic: SerializeAsAny[SyntheticSpec] | None = Field(
        None, description="negatives that are made, name or long form"
    )
    consistency: SerializeAsAny[ConsistencySpec] | None = Field(
        None, description="what both views must agree on beside, name or long form"
    )
    projector: ProjectorSpec = Field(ProjectorSpec(), description="projection head")

    @model_validator(mode="after")
    def _weighted_once(self) -> Self:
        warm = self.temperature
        weighted = isinstance(warm, AlignmentTemperature) and warm.reweight
        if weighted and self.reduction == "decoupled":
            raise ValueError(
                "reduction decoupled has the gradient that temperature.reweight gives; set one of "
                "them: temperature.reweight=false"
            )
        return self

    @model_validator(mode="after")
    def _attracted_by_one(self) -> Self:
        found = self.negatives
        attracts = isinstance(found, FalseNegatives) and found.way == "attract"
        if attracts and isinstance(self.positives, InterImage | NearestFeatures):
            raise ValueError(
                f"negatives.way attract and positives {self.positives.kind} are two sources of "
                "positives; set one of them: negatives.way=eliminate"
            )
        return self

    @property
    def relations(self) -> dict[str, float]:
        """How near positives may lie."""
        near = self.positives
        if not isinstance(near, Near):
            return {}
        told = {"partner_sides": near.within_sides, "partner_s": near.within_s}
        return {name: value for name, value in told.items() if value is not None}
