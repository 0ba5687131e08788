"""Stain jitter in optical density, on the device."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from histoscope.core.config import Spec

# rows: haematoxylin, eosin, DAB; red, green, blue optical densities of unit length.
# Ruifrok and Johnston 2001, table 2, as in skimage.color.hed_from_rgb before inversion
HED = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
DARKEST = 1 / 255


class StainSpec(Spec):
    """HED jitter: each stain's amount is multiplied by 1 + a, a uniform within ± sigma."""

    p: float = Field(1.0, ge=0, le=1, description="probability")
    sigma: float = Field(0.3, ge=0, lt=1, description="largest relative change of a stain")


class StainJitter:
    """Multiply each stain's amount; glass has none and stays as it is.

    After Tellez et al. 2018 ("Whole-slide mitosis detection"), without the additive term, which
    would tint glass. Optical density is -ln(max(I, 1/255)); amounts are not clipped, so that a
    jitter of 0 is the identity.
    """

    name = "pathology/stain"
    width = 4

    def __init__(self, spec: StainSpec) -> None:
        self.spec = spec

    def draw(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """(on, factor of haematoxylin, of eosin, of the residual)."""
        on = rng.random() < self.spec.p
        factors = 1 + rng.uniform(-self.spec.sigma, self.spec.sigma, 3)
        return np.array([on, *factors], dtype=np.float32)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Images (batch, 3, height, width), RGB in 0..1."""
        stains = images.new_tensor(HED)
        stains = stains / stains.norm(dim=1, keepdim=True)
        mix = torch.linalg.inv(stains) @ (drawn[:, 1:, None] * stains)  # (batch, 3, 3)
        density = -images.clamp_min(DARKEST).log()
        jittered = torch.einsum("bij,bihw->bjhw", mix, density)
        return torch.where(drawn[:, :1, None, None] > 0, (-jittered).exp().clamp(0, 1), images)
