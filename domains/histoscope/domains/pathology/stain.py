"""Stain jitter in optical density, on the device."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from histoscope.core.config import Spec
from histoscope.domains.pathology.colour_spaces import DARKEST, HED

# what tells glass from tissue, in optical density: up to the first number all glass, from the
# second none. Slides scanned with a grey ground have glass of a mean density of 0.13, as the palest
# tissue has, but with 0.05 at most between its channels, where nine of ten pixels of tissue have
# more (PatchCamelyon and four sections)
GLASS = (0.06, 0.15)  # mean of the channels
GREY_GLASS = (0.04, 0.08)  # the largest less the smallest channel, of what is pale ...
DARK_GLASS = (0.25, 0.40)  # ... by the mean: darker greys are tissue, or pigment in it
CACHED_PX = 1 << 16  # 0.8 MB for each float32 copy of them
NAMED = {"hed-light": 0.05, "hed-strong": 0.2}  # Tellez et al. 2019, HED-light and HED-strong


class StainSpec(Spec):
    """HED jitter: each stain's amount s becomes s · (1 + a) + b, uniform a and b.

    Short forms: ``hed-light`` (sigma and bias 0.05) and ``hed-strong`` (both 0.2).
    """

    kind: Literal["hed"] = "hed"
    p: float = Field(1.0, ge=0, le=1, description="probability")
    sigma: float = Field(0.3, ge=0, lt=1, description="largest relative change of a stain, |a|")
    bias: float = Field(0.0, ge=0, lt=1, description="largest |b|, in optical density")

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        if given not in NAMED:
            raise ValueError(f"{given}: unknown; give {' or '.join(NAMED)}, or sigma and bias")
        return {"sigma": NAMED[given], "bias": NAMED[given]}


class StainJitter:
    """Change each stain's amount where there is tissue; glass stays as it is.

    Tellez et al. 2019 ("Quantifying the effects of data augmentation and stain color
    normalization"), section 3.1, with differences: optical density is -ln(max(I, 1/255)), amounts
    are in that unit and not clipped, so that a jitter of 0 is the identity (black stays black); the
    change fades out towards glass (:func:`tissue_part`), where the published one tints it.
    """

    name = "pathology/stain"
    width = 7

    def __init__(self, spec: StainSpec) -> None:
        self.spec = spec

    def draw(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """(on, factors of haematoxylin, eosin and residual, what is added to the three)."""
        spec = self.spec
        on = rng.random() < spec.p
        factors = 1 + rng.uniform(-spec.sigma, spec.sigma, 3)
        return np.array([on, *factors, *rng.uniform(-spec.bias, spec.bias, 3)], dtype=np.float32)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Images (batch, 3, height, width), RGB in 0..1; rows that are off stay as they are."""
        more, added = self._exponents(drawn.to(images.dtype))
        out = images.new_empty(images.shape)
        pixels = images.shape[2] * images.shape[3]
        in_cache = images.device.type == "cpu"  # so many are changed together, else all
        size = max(1, CACHED_PX // pixels) if in_cache else len(images)
        for start in range(0, len(images), size):
            some = slice(start, start + size)
            flat = images[some].flatten(2).contiguous()  # (some, 3, pixels), channel by channel
            light = flat.clamp_min(DARKEST).log_()
            share = torch.baddbmm(added[some], more[some], light)
            share.mul_(tissue_part(light)).exp2_().mul_(flat)
            torch.clamp_max(share, 1, out=out[some].flatten(2))
        return out

    def _exponents(self, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """A matrix (batch, 3, 3) and a column (batch, 3, 1): of ln I to the change of log2 I.

        In powers of two: on a CPU ``exp2`` takes a quarter of the time of ``exp``.
        """
        stains = drawn.new_tensor(HED)
        stains = stains / stains.norm(dim=1, keepdim=True)
        same = torch.eye(3, dtype=drawn.dtype, device=drawn.device)
        mix = torch.linalg.inv(stains) @ (drawn[:, 1:4, None] * stains) - same
        on = drawn[:, :1, None] / math.log(2)
        return (on * mix).mT.contiguous(), on * (drawn[:, 4:] @ -stains)[:, :, None]


def tissue_part(light: Tensor) -> Tensor:
    """How much of each pixel is tissue and not glass, 0 to 1, (batch, 1, pixels).

    Args:
        light: ln(max(I, 1/255)), (batch, 3, pixels), which is minus the optical density.
    """
    red, green, blue = light[:, :1], light[:, 1:2], light[:, 2:]
    total = (red + green).add_(blue)
    # of two planes at a time: amax and amin over the channels take twice the time
    colour = torch.maximum(red, green)
    least = torch.minimum(red, green)
    torch.maximum(colour, blue, out=colour).sub_(torch.minimum(least, blue, out=least))
    stained = torch.maximum(_ramp(colour, GREY_GLASS), _ramp(total, DARK_GLASS, -3)).clamp_(0, 1)
    return _ramp(total, GLASS, -3).clamp_(0, 1).mul_(stained)


def _ramp(sums: Tensor, between: tuple[float, float], count: int = 1) -> Tensor:
    """0 where a mean is the first of two numbers, 1 at the second, straight, not yet held there.

    Args:
        sums: ``count`` times the mean: a pass over memory less than the mean itself takes.
    """
    low, high = between
    return torch.add(sums.new_tensor(-low / (high - low)), sums, alpha=1 / (count * (high - low)))
