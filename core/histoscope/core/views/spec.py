"""Configuration of views. Importing it loads neither torch nor a picture library."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from histoscope.core.config import Spec, build, merge
from histoscope.core.errors import ConfigError


def rising(given: tuple[float, float], *, most: float = math.inf) -> tuple[float, float]:
    """A range of positive numbers.

    Raises:
        ValueError: not 0 < low <= high <= most, or not finite.
    """
    low, high = given
    if not (0 < low <= high <= most and math.isfinite(high)):
        limit = f" <= {most:g}" if math.isfinite(most) else ""
        raise ValueError(f"expected two numbers, 0 < low <= high{limit}")
    return given


Range = Annotated[tuple[float, float], AfterValidator(rising)]
Shares = Annotated[tuple[float, float], AfterValidator(partial(rising, most=1))]


class GeometrySpec(Spec):
    """Which part of an image a view shows, and how it lies."""

    size_px: int | None = Field(None, ge=8, description="side of a view; default: the store's")
    scale: Shares = Field((0.3, 1.0), description="smallest and largest crop, share of the area")
    ratio: Range = Field((0.75, 4 / 3), description="smallest and largest width / height")
    mirror: bool = Field(True, description="mirror left to right half the time")
    quarter_turns: bool = Field(True, description="turn by 0, 90, 180 or 270 degrees")
    overlap: float = Field(
        0.0,
        ge=0,
        le=1,
        description="of another family: least share of a crop inside the first global view, which "
        "ten tries look for",
    )


class GridDistortionSpec(Spec):
    """Stretch and squeeze the columns and rows of a grid; numbers as in Stacke et al.'s code."""

    p: float = Field(0.0, ge=0, le=1, description="probability")
    steps: int = Field(9, ge=1, description="grid cells a side")
    limit: float = Field(0.2, gt=0, lt=1, description="a cell's side is scaled within 1 ± this")


class GridShuffleSpec(Spec):
    """Put the cells of a grid in another order; numbers as in Stacke et al.'s code."""

    p: float = Field(0.0, ge=0, le=1, description="probability")
    grid: int = Field(3, ge=2, le=8, description="grid cells a side")


class RandAugmentSpec(Spec):
    """Changes drawn from a list, one after the other: Cubuk et al. 2020, "RandAugment"."""

    p: float = Field(0.0, ge=0, le=1, description="probability")
    count: int = Field(2, ge=1, le=8, description="changes an image")
    magnitude: int = Field(9, ge=0, le=30, description="how strong each is, of 30")


class WarpSpec(Spec):
    """What moves pixels about in a cropped view, in this order."""

    distortion: GridDistortionSpec = Field(GridDistortionSpec(), description="grid distortion")
    shuffle: GridShuffleSpec = Field(GridShuffleSpec(), description="grid shuffle")


class JitterSpec(Spec):
    """Strengths as in torchvision's ColorJitter: factor in 1 ± strength; hue in turns."""

    p: float = Field(0.8, ge=0, le=1, description="probability")
    brightness: float = Field(0.3, ge=0, lt=1, description="factor within 1 ± this")
    contrast: float = Field(0.3, ge=0, lt=1, description="factor within 1 ± this")
    saturation: float = Field(0.3, ge=0, lt=1, description="factor within 1 ± this")
    hue: float = Field(0.05, ge=0, le=0.5, description="turn of the colour circle, ± this")


class SolariseSpec(Spec):
    """Invert what is bright, as in Grill et al. 2020 (BYOL), appendix B."""

    p: float = Field(0.0, ge=0, le=1, description="probability")
    threshold: float = Field(0.5, ge=0, le=1, description="from which value on")


class ErasingSpec(Spec):
    """Paint over a rectangle in one colour: Zhong et al. 2020, "Random Erasing"."""

    p: float = Field(0.0, ge=0, le=1, description="probability")
    area: Shares = Field((0.02, 0.33), description="smallest and largest, share of the view")
    ratio: Range = Field((0.3, 3.3), description="smallest and largest width / height")


class BlurSpec(Spec):
    """Gaussian blur, as in Chen et al. 2020."""

    p: float = Field(0.0, ge=0, le=1, description="probability")
    sigma_px: Range = Field((0.1, 1.5), description="smallest and largest deviation, px")


class BackgroundSpec(Spec):
    """What lies behind subjects is changed: Ryali et al. 2021, "Characterizing and Improving...".

    ``remove``: one colour; ``random``: another image's background; ``swap``: that, and where a
    method has negatives another image's subject before the view's own background repels it.
    """

    kind: Literal["remove", "random", "swap"] = Field("random", description="how it is changed")
    p: float = Field(0.0, ge=0, le=1, description="probability, of each view by itself")
    provider: str | None = Field(
        None, description="of the masks, as NAME or NAME@VERSION; default: the store's only ones"
    )
    area: tuple[float, float] = Field(
        (0.05, 0.9), description="least and largest share of a view that its subject may be"
    )
    fill: Literal["source", "grey"] = Field(
        "source",
        description="of remove, and where no square of background is free: what the source shows "
        "where nothing is, or a drawn grey level",
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        low, high = self.area
        if not 0 <= low < high <= 1:
            raise ValueError("area: expected two shares, 0 <= low < high <= 1")
        if self.model_fields_set and "p" not in self.model_fields_set:
            raise ValueError("p is not given: in which share of views, for example 0.2")
        return self


class ViewsSpec(Spec):
    """The augmentations of pretraining; a domain may add its own under ``domain``."""

    geometry: GeometrySpec = Field(GeometrySpec(), description="crop, mirror, turn, size")
    warp: WarpSpec = Field(WarpSpec(), description="grid distortion and grid shuffle")
    jitter: JitterSpec = Field(JitterSpec(), description="brightness to hue")
    grey: float = Field(0.1, ge=0, le=1, description="probability of a grey view")
    blur: BlurSpec = Field(BlurSpec(), description="Gaussian blur")
    randaugment: RandAugmentSpec = Field(RandAugmentSpec(), description="RandAugment")
    solarise: SolariseSpec = Field(SolariseSpec(), description="what is bright inverted")
    erasing: ErasingSpec = Field(ErasingSpec(), description="a rectangle painted over")
    background: BackgroundSpec = Field(
        BackgroundSpec(), description="what lies behind subjects, by the masks of a store's plane"
    )
    domain: Mapping[str, Any] = Field({}, description="what the domain adds, by its own names")
    families: Mapping[str, Mapping[str, Any]] = Field(
        {}, description="by its name what another family of views changes, as small crops"
    )

    def of_families(self, usual: str) -> dict[str, ViewsSpec]:
        """The settings of each family: those of the usual one, and what another changes.

        Raises:
            ConfigError: a family changes what there is not.
        """
        whole = self.model_dump(exclude={"families"})
        for name, changes in self.families.items():
            self._check_background(f"views.families.{name}.background", changes, name)
        others = {
            name: build(ViewsSpec, merge(whole, changes), f"views.families.{name}")
            for name, changes in self.families.items()
        }
        return {usual: self, **others}

    def _check_background(self, where: str, changes: Mapping[str, Any], family: str) -> None:
        """Refuse what would do nothing in silence."""
        asked = changes.get("background")
        if not isinstance(asked, Mapping):
            return
        if family == "donor":
            raise ConfigError(f"{where}: donors are shown as they are; leave it out")
        if set(asked) - {"p"} and not asked.get("p", self.background.p):
            raise ConfigError(f"{where}: p is not given: in which share of views, for example 0.2")
        if asked.get("kind") == "swap" and self.background.kind != "swap":
            raise ConfigError(
                f"{where}: kind swap opposes the usual views; set views.background.kind=swap, "
                "or kind random here"
            )
