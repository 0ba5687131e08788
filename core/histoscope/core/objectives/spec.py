"""The grammar of objectives: a base and its choices, each with a short and a long form.

``temperature: 0.2`` is ``{kind: fixed, value: 0.2}``. Only what is built is accepted.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from histoscope.core.config import Spec


class FixedTemperature(Spec):
    """A constant temperature."""

    kind: Literal["fixed"] = "fixed"
    value: float = Field(0.2, gt=0, le=2, description="divides cosines; no unit")


class ProjectorSpec(Spec):
    """The head that is thrown away after pretraining: linear, BN, ReLU, linear, BN."""

    hidden: int = Field(512, ge=8, description="width of the hidden layer")
    out: int = Field(128, ge=2, description="width of a projection")


class ObjectiveSpec(Spec):
    """What is learnt without labels."""

    base: Literal["simclr"] = Field("simclr", description="the method")
    negatives: Literal["in_batch"] = Field("in_batch", description="where negatives come from")
    reduction: Literal["infonce", "decoupled"] = Field(
        "infonce", description="whether the positive stands in the denominator"
    )
    temperature: FixedTemperature = Field(FixedTemperature(), description="number or long form")
    projector: ProjectorSpec = Field(ProjectorSpec(), description="projection head")

    @field_validator("temperature", mode="before")
    @classmethod
    def _short_form(cls, given: Any) -> Any:
        return {"value": given} if isinstance(given, int | float) else given
