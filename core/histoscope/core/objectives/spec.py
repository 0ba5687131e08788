"""The grammar of objectives: a base and its choices, each with a short and a long form.

``temperature: 0.2`` is ``{kind: fixed, value: 0.2}``. Only what is built is accepted.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from histoscope.core.config import Spec


class FixedTemperature(Spec):
    """A constant temperature."""

    kind: Literal["fixed"] = Field("fixed", description="a number alone may stand for the whole")
    value: float = Field(0.2, gt=0, le=2, description="divides cosines; no unit")


class ProjectorSpec(Spec):
    """The head that is thrown away after pretraining: linear, BN, ReLU, linear, BN."""

    hidden: int = Field(512, ge=8, description="width of the hidden layer")
    out: int = Field(128, ge=2, description="width of a projection")


class MomentumSpec(Spec):
    """The slow copy of the network whose keys fill a queue."""

    rate: float = Field(0.99, ge=0, lt=1, description="part of the slow copy kept each step")
    rows: int = Field(1024, ge=1, description="keys in the queue, at most half of the samples")
    groups: int = Field(
        4, ge=1, description="batch norm sees this part of a batch, keys in another order"
    )
    symmetric: bool = Field(True, description="each view is query once and key once")


class ObjectiveSpec(Spec):
    """What is learnt without labels."""

    base: Literal["simclr", "moco_v2"] = Field("simclr", description="the method")
    negatives: Literal["in_batch", "queue"] | None = Field(
        None, description="where negatives come from; default: in_batch, of moco_v2 queue"
    )
    reduction: Literal["infonce", "decoupled"] = Field(
        "infonce", description="decoupled: the positive is left out of the denominator"
    )
    temperature: FixedTemperature = Field(FixedTemperature(), description="number or long form")
    projector: ProjectorSpec = Field(ProjectorSpec(), description="projection head")
    momentum: MomentumSpec = Field(MomentumSpec(), description="of moco_v2: the slow copy")

    @field_validator("temperature", mode="before")
    @classmethod
    def _short_form(cls, given: Any) -> Any:
        return {"value": given} if isinstance(given, int | float) else given

    @model_validator(mode="after")
    def _fits(self) -> Self:
        wanted = "queue" if self.base == "moco_v2" else "in_batch"
        if self.negatives not in (None, wanted):
            raise ValueError(f"negatives of {self.base} come from {wanted}")
        return self
