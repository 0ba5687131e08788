"""Settings of a comparison of recipes: its arms, and how the field is halved. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, model_validator

from histoscope.core.config import Spec


class ArmSpec(Spec):
    """One way to an encoder: one that is there, or a recipe to learn it by."""

    start: str | None = Field(
        None,
        description="an encoder that is taken as it is: colour, random:NAME, timm:NAME, or a "
        "folder of a run, a package or import-weights",
    )
    preset: str | None = Field(None, description="else a recipe that ships with the program")
    set: Mapping[str, Any] = Field({}, description="settings over it, as in config.yaml")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.start is not None and (self.preset is not None or self.set):
            raise ValueError("start is taken as it is: give it alone, or preset and set")
        return self


class TuneSpec(Spec):
    """What is compared, and for how long."""

    steps: int = Field(150, ge=1, description="of each recipe in the first round")
    rounds: int = Field(
        3, ge=1, description="in each later one the better half learns anew, for twice the steps"
    )
    arms: Mapping[str, ArmSpec] = Field({}, description="by name; two or more")

    @classmethod
    def long_form(cls, given: Any) -> Any:
        """An arm that is set to null is left out."""
        if not isinstance(given, Mapping) or not isinstance(given.get("arms"), Mapping):
            return given
        kept = {name: one for name, one in given["arms"].items() if one is not None}
        return {**given, "arms": kept}

    @model_validator(mode="after")
    def _several(self) -> Self:
        for name in self.arms:
            if not name.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"arms: {name!r}: letters, digits, _ and - make a name")
        if self.arms and not any(one.start is None for one in self.arms.values()):
            raise ValueError("arms: none is learnt; compare encoders with finetune and evaluate")
        return self
