"""What lies over the picture of a laparoscope, on the device: reflections of its light, smoke.

Both spare the black surround of the field of view, where a scope shows nothing.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d, pad

from histoscope.core.config import Spec
from histoscope.core.views.spec import Range, Shares

MOST = 16  # reflections of an image
GRID = 6  # cells of the noise a side
SURROUND = (0.05, 0.11)  # brightest channel: up to the first all surround, from the second none
LOOKED_AT_PX = 48  # side at which the surround is told from the field
SHADOW = 7  # of these px, smaller ones inside the field are no surround


class SpecularSpec(Spec):
    """Reflections of the scope's light: white spots with soft edges."""

    p: float = Field(0.0, ge=0, le=1, description="probability")
    most: int = Field(8, ge=1, le=MOST, description="spots of an image, 1 to this many")
    radius: Shares = Field((0.003, 0.02), description="smallest and largest, share of the side")
    longest: float = Field(3.0, ge=1, le=10, description="length of a spot over its width, at most")
    strength: Shares = Field((0.6, 1.0), description="part of white at the middle")


class SmokeSpec(Spec):
    """Smoke of the cautery: grey white that varies slowly over the image."""

    p: float = Field(0.0, ge=0, le=1, description="probability")
    strength: Shares = Field((0.2, 0.6), description="part of smoke where it is densest")
    grey: Shares = Field((0.7, 0.95), description="how bright smoke is")
    contrast: Range = Field((0.5, 2.0), description="exponent of the noise; more: smoke in patches")


class Specular:
    """Blend white in where ellipses lie: I + (1 - I) a, a = strength · exp(-d^4).

    d is 1 on an ellipse; where several lie, the strongest counts.
    """

    name = "surgery/specular"
    width = 1 + 6 * MOST

    def __init__(self, spec: SpecularSpec) -> None:
        self.spec = spec

    def draw(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """(on; of each spot its place, across and down, half axes in sides, angle, strength)."""
        spec, on = self.spec, rng.random() < self.spec.p
        count = rng.integers(1, spec.most + 1)
        low, high = (math.log(one) for one in spec.radius)
        width = np.exp(rng.uniform(low, high, MOST))
        length = width * rng.uniform(1, spec.longest, MOST)
        strength = rng.uniform(*spec.strength, MOST) * (np.arange(MOST) < count)
        places = rng.random((2, MOST))
        spots = np.stack([*places, length, width, rng.uniform(0, math.pi, MOST), strength], 1)
        return np.concatenate([[on], spots.ravel()]).astype(np.float32)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Images (batch, 3, height, width), RGB in 0..1; rows that are off stay as they are."""
        rows = torch.nonzero(drawn[:, 0] > 0).flatten()
        if not len(rows):
            return images
        some = images[rows]
        spots = drawn[rows, 1:].to(images.dtype).reshape(len(rows), MOST, 6)
        across, down = _places(some)
        light = some.new_zeros(len(rows), 1, *some.shape[2:])
        for spot in spots[:, : self.spec.most].unbind(1):
            x, y, length, width, angle, strength = spot[:, :, None, None, None].unbind(1)
            cos, sin = angle.cos(), angle.sin()
            along = ((across - x) * cos + (down - y) * sin) / length
            beside = ((down - y) * cos - (across - x) * sin) / width
            squared = along**2 + beside**2
            light = torch.maximum(light, strength * torch.exp(-(squared**2)))
        light = light * field_part(some)
        return images.index_copy(0, rows, some + (1 - some) * light)


class Smoke:
    """Blend grey white in: (1 - a) I + a g, a = strength · noise^contrast, noise 0 to 1.

    The noise is a grid of drawn numbers, made smooth by cubic interpolation.
    """

    name = "surgery/smoke"
    width = 4 + GRID * GRID

    def __init__(self, spec: SmokeSpec) -> None:
        self.spec = spec

    def draw(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """(on, strength, grey, contrast, the grid)."""
        spec, on = self.spec, rng.random() < self.spec.p
        told = (rng.uniform(*of) for of in (spec.strength, spec.grey, spec.contrast))
        return np.array([on, *told, *rng.random(GRID * GRID)], dtype=np.float32)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Images (batch, 3, height, width), RGB in 0..1; rows that are off stay as they are."""
        rows = torch.nonzero(drawn[:, 0] > 0).flatten()
        if not len(rows):
            return images
        some, numbers = images[rows], drawn[rows].to(images.dtype)
        strength, grey, contrast = (numbers[:, at, None, None, None] for at in (1, 2, 3))
        grid = numbers[:, 4:].reshape(-1, 1, GRID, GRID)
        size = [*images.shape[2:]]
        noise = interpolate(grid, size, mode="bicubic", align_corners=True).clamp(0, 1)
        dense = strength * noise**contrast * field_part(some)
        return images.index_copy(0, rows, some + (grey - some) * dense)


def field_part(images: Tensor) -> Tensor:
    """How much of each pixel is field of view and not black surround, 0 to 1, (batch, 1, ...).

    Shadows inside the field that are smaller than a seventh of the side are field.

    Args:
        images: (batch, 3, height, width), RGB in 0..1.
    """
    brightest = images.amax(1, keepdim=True)
    size = [min(LOOKED_AT_PX, side) for side in images.shape[2:]]
    small = interpolate(brightest, size, mode="area")
    small = pad(small, [SHADOW] * 4)  # so that a strip between field and border stays surround
    for sign in (1, -1):  # what is dark and small is closed
        small = sign * max_pool2d(sign * small, SHADOW, stride=1, padding=SHADOW // 2)
    small = small[:, :, SHADOW:-SHADOW, SHADOW:-SHADOW]
    low, high = SURROUND
    whole = interpolate(small, [*images.shape[2:]], mode="bilinear", align_corners=False)
    return ((torch.maximum(whole, brightest) - low) / (high - low)).clamp(0, 1)


def _places(images: Tensor) -> tuple[Tensor, Tensor]:
    """Where each column and row lies, shares of the sides."""
    height, width = images.shape[2:]
    across, down = (
        (torch.arange(side, device=images.device, dtype=images.dtype) + 0.5) / side
        for side in (width, height)
    )
    return across, down[:, None]
