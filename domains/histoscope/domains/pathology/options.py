"""What a person may choose when tiles are cut: the sampling and the options of each command."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from histoscope.core.config import Spec
from histoscope.core.contracts import Sampling
from histoscope.core.tables.classes import ClassNames

Coordinates = Literal["qupath", "level0"]
Layout = Literal["auto", "slides", "folders", "case-folders", "zip", "h5", "csv"]
FeatureLayout = Literal["opaque", "clam", "trident"]


class TileSampling(Sampling):
    """How tiles are cut from a slide, or fitted from the images of a labelled set."""

    size_px: int = Field(224, ge=8, le=4096, description="side of a tile, px")
    tile_mpp: float = Field(0.5, ge=0.05, le=100, description="scale of a tile, um per pixel")
    stride_px: int | None = Field(
        None, ge=1, description="step from tile to tile in px of the tile; default: its side"
    )
    min_tissue: float = Field(
        0.3, ge=0, le=1, description="smallest part of a tile that must be tissue, 0 to 1"
    )
    partial: Literal["drop", "fill"] = Field(
        "drop", description="tiles that reach over the edge: left out, or filled with white"
    )
    stain_normalisation: Literal["none", "macenko", "reinhard"] = Field(
        "none",
        description="bring stains to a reference, slide by slide (pictures of a set each alone); "
        "before a pathology encoder it bought nothing in a published comparison (arXiv 2311.11772)",
    )
    halving: bool = Field(
        False,
        description="where a slide has JPEG tiles at least twice as fine as asked for, let the "
        "decoder halve them: faster, and other pixels, a grey value or less in the mean",
    )

    alike: ClassVar[tuple[str, ...]] = ("stain_normalisation", "halving")
    added: ClassVar[tuple[str, ...]] = ("halving",)

    def scale(self) -> Mapping[str, float]:
        """Physical scale of a tile: micrometres per pixel."""
        return {"mpp": self.tile_mpp}


class RelationOptions(Spec):
    """Which tiles of a slide lie near each other: how far apart their corners are."""

    partner_sides: float = Field(
        1.0, ge=0, le=20, description="sides of a tile up to which another may be a positive"
    )
    same_sides: float = Field(
        2.0, ge=0, le=20, description="sides of a tile up to which another is never a negative"
    )


PIXELS = (
    "pixels in GeoJSON: QuPath's, which begin at the scanned bounds of a slide that states "
    "them, or those of level 0 (QuPath's --no-crop); ASAP's are of level 0 anyway"
)


CASES = "CSV with columns slide,case: whose slide it is"
MISSING_CASES = (
    "what one is that --cases does not name: a case of its own (source), or left out (drop)"
)
CASE_REGEX = "pattern on the relative path; its first group is the case"


def has_a_group(pattern: str | None) -> str | None:
    """A pattern that tells something.

    Raises:
        ValueError: no regular expression, or one without a group.
    """
    if pattern is None:
        return None
    try:
        groups = re.compile(pattern).groups
    except re.error as fault:
        raise ValueError(f"not a regular expression ({fault})") from None
    if groups < 1:
        raise ValueError("needs a group, for example '^(TCGA-..-....)'")
    return pattern


class ReadOptions(Spec):
    """What a slide's file may not say: its scale and whose it is."""

    mpp_csv: Path | None = Field(
        None, description="CSV with columns slide,mpp: um per pixel by file name; beats the file"
    )
    default_mpp: float | None = Field(
        None, ge=0.05, le=100, description="um per pixel of slides whose file gives none"
    )
    cases: Path | None = Field(None, description=CASES)
    missing_cases: Literal["source", "drop"] | None = Field(None, description=MISSING_CASES)
    case_regex: str | None = Field(None, description=CASE_REGEX)
    allow_anisotropic: bool = Field(
        False, description="read slides whose pixels are more than 2 % off square"
    )
    plane: int | None = Field(
        None,
        ge=1,
        description="which plane of a stack (focal planes, times), from 1; default: the middle one",
    )
    tissue: Path | None = Field(
        None,
        description="folder of outlines of tissue, as 'histoscope tissue' writes them and a person "
        "corrects them: on slides that have a file only what lies in one is tissue",
    )
    coordinates: Coordinates = Field("qupath", description=PIXELS)

    _has_a_group = field_validator("case_regex")(has_a_group)


class FeatureOptions(Spec):
    """Options of ``--features``: whose slide a file is of, and what files may not say."""

    feature_encoder: str | None = Field(
        None,
        pattern=r"^\S+$",
        description="with --features: which encoder gave them, where files do not say it (CLAM's)",
    )
    patch_px: int | None = Field(
        None,
        ge=8,
        le=8192,
        description="with --features: side of a patch, px, where files do not say it",
    )
    magnification: float | None = Field(
        None,
        gt=0,
        le=200,
        description="with --features: of patches, 20 for 0.5 um per pixel, where files do not say "
        "it (CLAM's)",
    )
    cases: Path | None = Field(None, description=CASES)
    missing_cases: Literal["source", "drop"] | None = Field(None, description=MISSING_CASES)
    case_regex: str | None = Field(None, description=CASE_REGEX)

    _has_a_group = field_validator("case_regex")(has_a_group)


class SuggestOptions(Spec):
    """How places on a slide are told to a viewer."""

    coordinates: Coordinates = Field("qupath", description=PIXELS)


class EmbedOptions(ReadOptions):
    """Options of ``embed``: a slide's, and under which names its features are found."""

    layout: FeatureLayout = Field(
        "opaque",
        description="names and folders of HDF5 files: opaque, by id, or those of the slides, where "
        "CLAM (with pt_files and its process list) or TRIDENT looks them up",
    )


class PrepareOptions(ReadOptions):
    """Options of ``prepare``: a slide's, and those of labelled tile sets."""

    layout: Layout = Field("auto", description="how the input lies; auto looks for itself")
    mpp: float | None = Field(
        None, ge=0.05, le=100, description="um per pixel of the images of a labelled tile set"
    )
    task: str = Field(
        "tissue",
        min_length=1,
        pattern=r"^[A-Za-z0-9_-]+$",
        description="name of the label table that a labelled set or annotations give",
    )
    class_names: str | None = Field(
        None,
        description="what classes are called in place of what is written, as 0=normal,1=tumour; "
        "two may become one, and NA=NA says that it is a class",
    )
    null_values: str | None = Field(
        None, description="what is written where the class is unknown, as NA,unknown"
    )
    annotations: Path | None = Field(
        None,
        description="folder of QuPath's GeoJSON, x.geojson or x.svs.geojson, or ASAP's XML, x.xml: "
        "labels of tiles, and extra tiles on drawings that lie between tiles",
    )
    rest_is: str | None = Field(
        None, min_length=1, description="class of what nobody drew on, on slides with annotations"
    )

    @field_validator("class_names")
    @classmethod
    def _pairs(cls, text: str | None) -> str | None:
        ClassNames.parse(text, None)
        return text

    def classes(self) -> ClassNames:
        """What was said of the names of classes that are written."""
        return ClassNames.parse(self.class_names, self.null_values)
