"""Settings of the providers. Lengths and areas are shares, so that they suit images of any size."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from histoscope.core.config import Spec


class TissueSpec(Spec):
    """Of ``tissue``."""

    stain: float = Field(
        0.05,
        gt=0,
        le=1,
        description="how much more green than red or blue light tissue takes away, optical density",
    )
    smallest: float = Field(
        0.005, ge=0, le=0.5, description="specks and holes below this share of the image are undone"
    )


class NucleiSpec(Spec):
    """Of ``nuclei``."""

    smoothing: float = Field(
        0.03,
        gt=0,
        le=0.25,
        description="deviation of the blur of haematoxylin, as a share of the shorter side",
    )
    smallest: float = Field(
        0.002, ge=0, le=0.5, description="specks and holes below this share of the image are undone"
    )


class InstrumentsSpec(Spec):
    """Of ``instruments``."""

    margin: float = Field(
        0.01, ge=0, le=0.25, description="taken in around them, as a share of the shorter side"
    )
    smallest: float = Field(
        0.004, ge=0, le=0.5, description="parts below this share of the image are left out"
    )


class FieldSpec(Spec):
    """Of ``field``."""

    margin: float = Field(
        0.0, ge=0, le=0.25, description="left out inside its edge, as a share of the shorter side"
    )


class GroupingSpec(Spec):
    """Of ``grouping``."""

    encoder: str = Field(description="a word of the command line: a run, a package, timm:NAME, ...")
    size_px: int = Field(256, ge=16, le=2048, description="side that images are resized to")
    temperature: float = Field(
        0.3,
        ge=0.02,
        le=5,
        description="how unlike patches may be and still be joined; of the map's own spread",
    )
    gap: float = Field(
        0.2, ge=0, le=2, description="how much more alike patches of one group must be than of two"
    )
    side: Literal["rare", "apart"] = Field(
        "rare",
        description="rare: the group that is less usual in the source, at its place; "
        "apart: the group with the patch that lies furthest out",
    )
    refined: bool = Field(True, description="borders follow the image's own, by a guided filter")


class RandomSpec(Spec):
    """Of ``random``."""

    like: str = Field(description="name of the provider whose areas are taken over")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="of that provider; default: its defaults"
    )
    scale: float = Field(
        0.125,
        gt=0,
        le=1,
        description="deviation of the noise's blur, as a share of the longer side",
    )
