"""What a person may choose when frames are taken from operations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from histoscope.core.config import Spec
from histoscope.core.contracts import Sampling

VideoReader = Literal["auto", "sequential", "seek", "decord"]
Crop = Literal["none", "field", "circle", "inside"]
SHOWN: Mapping[Crop, str] = {
    "none": "whole_picture",
    "field": "field_of_view",
    "circle": "circle_of_view",
    "inside": "inside_of_circle",
}
ClassOrder = Literal["cholec80", "tf-cholec80", "alphabetical", "m2cai16"]


class FrameSampling(Sampling):
    """How frames become images: the whole picture, or the circular field, as a square."""

    size_px: int = Field(224, ge=8, le=4096, description="side of an image, px")
    fps: float = Field(1.0, gt=0, le=120, description="frames a second")
    crop: Crop = Field(
        "none",
        description="keep the whole picture; cut off the black surround (field, one box a video); "
        "also blacken what lies outside the scope's circle (circle); or cut the largest box inside "
        "that (inside)",
    )

    def scale(self) -> Mapping[str, float]:
        """What an image shows: all of the picture (1), or which part of it all of."""
        return {SHOWN[self.crop]: 1.0}


class RelationOptions(Spec):
    """Which frames of an operation lie near each other."""

    partner_s: float = Field(
        2.0, ge=0, le=600, description="seconds up to which another frame may be a positive"
    )
    same_s: float = Field(
        10.0, ge=0, le=600, description="seconds up to which another is never a negative"
    )


class ReadOptions(Spec):
    """How operations lie on disk and are read."""

    video_reader: VideoReader = Field(
        "auto", description="how videos are decoded; auto chooses for each file, and records it"
    )
    frame_base: int | None = Field(
        None, ge=0, description="number in the name of the first extracted frame: 0 or 1"
    )
    frame_step: int | None = Field(
        None, ge=1, description="frames of the video from one extracted frame to the next"
    )
    frame_rate: float = Field(
        25.0, gt=0, description="frames a second of the video that frames were extracted from"
    )
    part_regex: str | None = Field(
        None,
        description="pattern on the file name without suffix: first group the operation, second "
        "the number of the part; parts are joined in order",
    )
    cases: Path | None = Field(None, description="CSV with columns video,case: whose operation")
    missing_cases: Literal["source", "drop"] | None = Field(
        None,
        description="what one is that --cases does not name: a case of its own (source), or left "
        "out (drop)",
    )
    case_regex: str | None = Field(
        None, description="pattern on the relative path; its first group is the case"
    )

    @field_validator("part_regex")
    @classmethod
    def _two_groups(cls, pattern: str | None) -> str | None:
        return _checked(pattern, 2, r"(video\d+)_(\d+)")

    @field_validator("case_regex")
    @classmethod
    def _one_group(cls, pattern: str | None) -> str | None:
        return _checked(pattern, 1, r"(video\d+)")


class PredictOptions(ReadOptions):
    """Options of ``predict``: how to read, and what else to write."""

    write: Literal["none", "cholec80"] = Field(
        "none", description="also write NAME-phase.txt and NAME-tool.txt, which 'score' reads"
    )
    least_segment_s: float = Field(
        0.0,
        ge=0,
        le=3600,
        exclude_if=lambda least_s: not least_s,  # results made without it are as they were
        description="shortest segment of phases, s: shorter ones are merged by their scores, which "
        "looks at later frames; 0 merges none",
    )


class ReviewOptions(ReadOptions):
    """Options of ``review``: how to read, and where labels of phases are."""

    labels: Path | None = Field(
        None,
        description="folder with phase_annotations/ and tool_annotations/ (default: the one beside "
        "videos/), a CSV case,start,end,phase, or segments.json of predict, or a folder of these",
    )
    label_rate: float | None = Field(
        None,
        gt=0,
        le=1000,
        exclude_if=lambda rate: rate is None,  # stores made without it are as they were
        description="numbers a second in label files: 1 where they count seconds; by itself they "
        "count the frames of the source",
    )
    class_order: ClassOrder = Field(
        "cholec80", description="which phase an id stands for, in label files that have ids"
    )


class PrepareOptions(ReviewOptions):
    """Options of ``prepare``: how to read, and where labels are."""

    tools_csv: Path | None = Field(None, description="CSV case,second and one 0/1 column a tool")


def _checked(pattern: str | None, wanted: int, example: str) -> str | None:
    if pattern is None:
        return None
    try:
        groups = re.compile(pattern).groups
    except re.error as fault:
        raise ValueError(f"not a regular expression ({fault})") from None
    if groups < wanted:
        raise ValueError(f"needs {wanted} group{'s' * (wanted > 1)}, for example '{example}'")
    return pattern
