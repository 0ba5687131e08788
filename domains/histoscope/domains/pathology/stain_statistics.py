"""Stain-statistics augmentation: an image takes on colour statistics drawn from a fitted range."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from histoscope.core.config import Spec
from histoscope.domains.pathology.colour_spaces import DARKEST, SPACES
from histoscope.domains.pathology.stain import tissue_part

Normal = tuple[float, Annotated[float, Field(ge=0)]]
Row = tuple[float, float, float, float, float, float]
Law = Literal["normal", "laplace", "lognormal"]
GAINS = (0.25, 2.0)  # of a channel's contrast
LEAST_TISSUE = 0.01  # of an image
TRIES = 100
ROUNDING = 1e-3  # of a correlation's eigenvalues, by writing it with four digits


class StatisticsSpec(Spec):
    """RandStainNA: ranges of the tissue's mean and standard deviation in a colour space.

    ``histoscope stain`` measures them on a store and writes them as a configuration.
    """

    kind: Literal["statistics"]
    p: float = Field(1.0, ge=0, le=1, description="probability")
    space: Literal["lab", "hsv", "hed"] = Field("lab", description="colour space")
    mean: tuple[Normal, Normal, Normal] = Field(
        description="of each channel's mean over an image's tissue: mean and sd over images"
    )
    std: tuple[Normal, Normal, Normal] = Field(
        description="of each channel's standard deviation: mean and sd over images"
    )
    correlation: tuple[Row, Row, Row, Row, Row, Row] | None = Field(
        None,
        description="over images, of the three means and three deviations (of a lognormal one: of "
        "its logarithm); none: independent",
    )
    mean_laws: tuple[Law, Law, Law] = Field(
        ("normal",) * 3, description="how each channel's mean is distributed over images"
    )
    std_laws: tuple[Law, Law, Law] = Field(
        ("normal",) * 3, description="how each standard deviation is distributed over images"
    )

    @model_validator(mode="after")
    def _can_be_drawn(self) -> Self:
        if any(centre <= 0 for centre, _ in self.std):
            raise ValueError("the first number of each std must be greater than 0")
        laws = zip(self.mean_laws, self.mean, strict=True)
        if any(law == "lognormal" and centre <= 0 for law, (centre, _) in laws):
            raise ValueError("a mean of the law lognormal must be greater than 0")
        table = np.array(self.correlation or np.eye(6))
        if (table != table.T).any() or (np.diag(table) != 1).any():
            raise ValueError("correlation must be symmetric, with 1 on its diagonal")
        if np.linalg.eigvalsh(table).min() < -ROUNDING:
            raise ValueError("no six numbers correlate as correlation says")
        return self


class StainStatistics:
    """Shift and stretch each channel so that the tissue has the drawn mean and deviation.

    Shen et al. 2022 ("RandStainNA", MICCAI), section 2: Reinhard's transfer with a virtual
    template a draw. Different from the published code: means and deviations are of tissue alone
    and only tissue changes (:func:`.stain.tissue_part`); each channel keeps its fitted law; the
    six numbers of an image belong together as they do in the store, where drawing them apart
    gives green tissue, and are drawn anew until all deviations are positive; hue is an angle;
    stain amounts are neither clipped nor stretched; a channel's contrast is at most doubled, so
    that flat tissue does not turn into noise, and at least a quarter of it stays; an image with
    less than 1 % of tissue stays as it is.
    """

    name = "pathology/stain-statistics"
    width = 7

    def __init__(self, spec: StatisticsSpec) -> None:
        self.spec = spec
        self.space = SPACES[spec.space]
        values, vectors = np.linalg.eigh(np.array(spec.correlation or np.eye(6)))
        self._root = vectors * np.sqrt(values.clip(0))

    def draw(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """(on, means of the three channels, their standard deviations, all > 0)."""
        spec = self.spec
        on = rng.random() < spec.p
        laws = [*spec.mean_laws, *spec.std_laws]
        ranges = [*spec.mean, *spec.std]
        for _ in range(TRIES):
            scores = self._root @ rng.standard_normal(6)
            drawn = [quantile(*of) for of in zip(scores.tolist(), ranges, laws, strict=True)]
            if min(drawn[3:]) > 0:
                break
        else:
            drawn = [centre for centre, _ in ranges]  # deviations that are hardly ever positive
        return np.array([on, *drawn], dtype=np.float32)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Images (batch, 3, height, width), RGB in 0..1; rows that are off stay as they are."""
        circular = self.space.circular
        flat = images.flatten(2)  # (batch, 3, pixels)
        part = tissue_part(flat.clamp_min(DARKEST).log())
        values = self.space.forward(flat)
        mean, std = tissue_statistics(values, part, circular)
        gain = (drawn[:, 4:] / std.clamp_min(1e-6)).clamp(*GAINS)
        moved = deviation(values, mean, circular) * gain[:, :, None] + drawn[:, 1:4, None]
        enough = part.mean(dim=2, keepdim=True) >= LEAST_TISSUE
        part = part * (drawn[:, :1, None] * enough)
        return torch.lerp(flat, self.space.back(moved), part).view_as(images)


def quantile(score: float, of: Normal, law: Law) -> float:
    """The number that lies in a law where ``score`` lies in the standard normal distribution.

    Args:
        score: standard deviations from the middle.
        of: mean and standard deviation of the law.
        law: a Laplace distribution of scale s has a standard deviation of s times the root of 2.
    """
    centre, sd = of
    if law == "normal":
        return centre + sd * score
    if law == "lognormal":
        square = math.log1p((sd / centre) ** 2)  # variance of the logarithm
        return centre * math.exp(math.sqrt(square) * score - square / 2)
    tail = math.erfc(abs(score) / math.sqrt(2))  # chance of being further out, on either side
    return centre + math.copysign(sd / math.sqrt(2) * math.log(max(tail, 1e-300)), score)


def deviation(values: Tensor, mean: Tensor, circular: int | None) -> Tensor:
    """What each value is off its channel's mean; of an angle the shorter way around, in turns.

    Args:
        values: (batch, 3, pixels).
        mean: (batch, 3).
        circular: the channel that is an angle.
    """
    off = values - mean[:, :, None]
    if circular is not None:
        off[:, circular] = torch.remainder(off[:, circular] + 0.5, 1) - 0.5
    return off


def tissue_statistics(values: Tensor, part: Tensor, circular: int | None) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over the tissue, (batch, 3) both.

    Args:
        values: (batch, 3, pixels).
        part: how much of each pixel is tissue, (batch, 1, pixels); its weight.
        circular: the channel that is an angle in turns: its mean is that of the directions.
    """
    weight = part / part.sum(dim=2, keepdim=True).clamp_min(1e-6)
    mean = (values * weight).sum(dim=2)
    if circular is not None:
        turn = values[:, circular] * math.tau
        across, along = ((of(turn) * weight[:, 0]).sum(dim=1) for of in (torch.sin, torch.cos))
        mean[:, circular] = torch.remainder(torch.atan2(across, along) / math.tau, 1)
    squares = deviation(values, mean, circular).square_()
    return mean, (squares * weight).sum(dim=2).sqrt_()
