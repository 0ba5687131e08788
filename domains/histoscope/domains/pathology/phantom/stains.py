"""From amounts of stain to what a scanner of one laboratory records."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from histoscope.domains.pathology.phantom.textures import Field, smooth_noise


@dataclass(frozen=True)
class Laboratory:
    """Stains and scanner of one laboratory.

    Attributes:
        name: one letter.
        haematoxylin, eosin: optical density of red, green, blue at amount 1.
        blur_px: standard deviation of the scanner's point spread.
        noise: standard deviation of the sensor's noise, grey levels.
        glass: grey level of empty glass, red, green, blue.
    """

    name: str
    haematoxylin: tuple[float, float, float]
    eosin: tuple[float, float, float]
    blur_px: float
    noise: float
    glass: tuple[float, float, float]


LABORATORIES = (
    Laboratory("a", (0.62, 0.72, 0.31), (0.10, 0.83, 0.55), 0.55, 3.0, (243, 242, 244)),
    Laboratory("b", (0.72, 0.62, 0.25), (0.21, 0.90, 0.38), 0.90, 5.0, (236, 238, 234)),
)


def record(
    haematoxylin: Field,
    eosin: Field,
    tissue: Field,
    laboratory: Laboratory,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Beer-Lambert: light falls off exponentially with the amount of stain in its way.

    Strength and balance of the stains differ from section to section and drift within it; so do
    focus and brightness. None of it depends on the class.

    Args:
        haematoxylin, eosin: amounts, (side, side), about 0 to 1.
        tissue: 1 on tissue, 0 on glass, soft at the edge, (side, side).
        laboratory: stains and scanner.
        rng: of this section.

    Returns:
        RGB, uint8, (side, side, 3).
    """
    side = len(tissue)
    drift = [np.exp(0.30 * smooth_noise(side, scale, rng)) for scale in (70, 70)]
    amounts = (
        haematoxylin * tissue * drift[0] * rng.uniform(0.75, 1.25),
        eosin * tissue * drift[1] * rng.uniform(0.75, 1.25),
    )
    density = sum(
        amount[..., None] * np.array(stain, dtype=np.float32)
        for amount, stain in zip(amounts, (laboratory.haematoxylin, laboratory.eosin), strict=True)
    )
    light = np.array(laboratory.glass, dtype=np.float32) * np.exp(-np.asarray(density))
    light = cv2.GaussianBlur(light, (0, 0), laboratory.blur_px * rng.uniform(0.8, 1.5))
    light = light * rng.uniform(0.94, 1.02)
    light += rng.normal(0, laboratory.noise, light.shape).astype(np.float32)
    return np.clip(np.round(light), 0, 255).astype(np.uint8)
