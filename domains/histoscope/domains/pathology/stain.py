"""Stain jitter in optical density, on the device."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from histoscope.core.config import Spec

# rows: haematoxylin, eosin, DAB; red, green, blue optical densities of unit length.
# Ruifrok and Johnston 2001, table 2, as in skimage.color.hed_from_rgb before inversion
HED = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
DARKEST = 1 / 255
GLASS, TISSUE = 0.06, 0.15  # mean optical density: up to the first all glass, from the second none
NAMED = {"hed-light": 0.05, "hed-strong": 0.2}  # Tellez et al. 2019, HED-light and HED-strong


class StainSpec(Spec):
    """HED jitter: each stain's amount s becomes s · (1 + a) + b, uniform a and b.

    Short forms: ``hed-light`` (sigma and bias 0.05) and ``hed-strong`` (both 0.2).
    """

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
    change fades from a mean optical density of 0.15 to none at 0.06, where the published one tints
    glass.
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
        stains = images.new_tensor(HED)
        stains = stains / stains.norm(dim=1, keepdim=True)
        on = drawn[:, :1].to(images.dtype)
        same = torch.eye(3, dtype=images.dtype, device=images.device)
        mix = torch.linalg.inv(stains) @ (drawn[:, 1:4, None] * stains) - same
        added = drawn[:, 4:] @ stains
        density = images.clamp_min(DARKEST).log().neg_().flatten(2)  # (batch, 3, pixels)
        change = torch.bmm((on[:, :, None] * mix).mT, density).add_((on * added)[:, :, None])
        change *= tissue_part(density)
        return change.neg_().exp_().view_as(images).mul_(images).clamp_(0, 1)


def tissue_part(density: Tensor) -> Tensor:
    """0 on glass to 1 on tissue by the mean optical density, (batch, 1, pixels)."""
    return ((density.mean(dim=1, keepdim=True) - GLASS) / (TISSUE - GLASS)).clamp_(0, 1)
