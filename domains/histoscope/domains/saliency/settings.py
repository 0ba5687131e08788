"""Settings of the providers. Lengths and areas are shares, so that they suit images of any size."""

from __future__ import annotations

from typing import Any

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


class LikeSpec(Spec):
    """Of a provider that works from another one's masks."""

    like: str = Field(description="name of the provider whose masks are gone by")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="of that provider; default: its defaults"
    )


class LearnedSpec(LikeSpec):
    """Of ``learned``."""

    encoder: str | None = Field(
        description="a word of the command line: a run, a package, timm:NAME, ...; "
        "null: none, colour, texture and place alone"
    )
    size_px: int = Field(
        512, ge=16, le=2048, description="side that images are resized to for the encoder"
    )
    trust: float = Field(
        0.35,
        ge=0,
        le=0.5,
        description="weight of the other provider's mask beside what was learned; from 0.5 on "
        "nothing that was learned would change it",
    )
    smallest: float = Field(
        0.004, ge=0, le=0.5, description="specks and holes below this share of the image are undone"
    )


class RandomSpec(LikeSpec):
    """Of ``random``."""

    scale: float = Field(
        0.125,
        gt=0,
        le=1,
        description="deviation of the noise's blur, as a share of the longer side",
    )
