"""Operations on the device that take something from an image: brightness, a rectangle."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from histoscope.core.views.spec import ErasingSpec, SolariseSpec


class Solarise:
    """Invert values from a threshold on, in a share of the images."""

    name = "solarise"
    width = 1

    def __init__(self, spec: SolariseSpec) -> None:
        self.spec = spec

    def draw(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """(on,)."""
        return np.array([rng.random() < self.spec.p], dtype=np.float32)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Invert what is bright in the rows that are on."""
        bright = (images >= self.spec.threshold) & (drawn[:, :1, None, None] > 0)
        return torch.where(bright, 1 - images, images)


class Erasing:
    """Paint a rectangle over in one drawn colour, in a share of the images."""

    name = "erasing"
    width = 8

    def __init__(self, spec: ErasingSpec) -> None:
        self.spec = spec

    def draw(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """(on, left, top, width, height as shares of the sides, red, green, blue)."""
        low, high = (math.log(side) for side in self.spec.ratio)
        area, ratio = rng.uniform(*self.spec.area), math.exp(rng.uniform(low, high))
        wide = min(1.0, math.sqrt(area * ratio))
        tall = min(1.0, math.sqrt(area / ratio))
        place = rng.uniform(0, 1 - wide), rng.uniform(0, 1 - tall)
        on = rng.random() < self.spec.p
        return np.array([on, *place, wide, tall, *rng.random(3)], dtype=np.float32)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Paint the rectangles of the rows that are on."""
        height, width = images.shape[2:]
        rows = _within(drawn[:, 2], drawn[:, 4], height)[:, None, :, None]
        columns = _within(drawn[:, 1], drawn[:, 3], width)[:, None, None, :]
        inside = rows & columns & (drawn[:, :1, None, None] > 0)
        colour = drawn[:, 5:8, None, None].to(images.dtype).expand_as(images)
        return torch.where(inside, colour, images)


def _within(start: Tensor, size: Tensor, length: int) -> Tensor:
    """Which pixels along a side lie in a range given by shares of it, (batch, length)."""
    first = (start * length).round()
    end = first + (size * length).round().clamp(min=1)
    place = torch.arange(length, device=start.device)
    return (place >= first[:, None]) & (place < end[:, None])
