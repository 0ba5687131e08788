"""Optical density against the glass of a slide, which is found over all of its tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from histoscope.domains.saliency.stream import measured

if TYPE_CHECKING:
    from histoscope.core.contracts.masks import Image

Density = NDArray[np.float32]
LEVEL, CHROMA = 190, 40  # glass is brighter, 0 to 255, and its channels differ less
LESS_GREEN = 6  # grey levels; what has less green than this below red and blue is stained
ENOUGH = 0.002  # of a source's pixels
PIXELS = 4096  # of an image that are looked at
PALE = 150  # brightest tones of a source without glass are taken for fill from here on
BLACK_OD, BLACK_COLOUR = 1.2, 0.3
NEAR_WHITE = (240, 240, 240)  # where nothing is pale: a common colour of glass


@dataclass(frozen=True)
class Glass:
    """The glass of a source.

    Attributes:
        colour: what unstained places look like, RGB, 0 to 255; white where no tile shows glass.
        fill: the same as whole numbers; the palest tone where no tile shows glass.
    """

    colour: tuple[float, float, float]
    fill: tuple[int, int, int]


def find_glass(images: Sequence[Image]) -> Glass:
    """Glass of the tiles of a source: the brighter half of what is bright and not stained."""
    pixels = np.concatenate([*measured(images, _some_pixels), np.zeros((0, 3), np.int16)])
    low, high = pixels.min(axis=1), pixels.max(axis=1)
    stained = pixels[:, 1] < np.minimum(pixels[:, 0], pixels[:, 2]) - LESS_GREEN
    bright = pixels[(low > LEVEL) & (high - low < CHROMA) & ~stained]
    if len(bright) > ENOUGH * len(pixels):
        colour = _brighter_half(bright)
        return Glass(_three(colour), _whole(colour))
    pale = pixels[low >= PALE]
    if not len(pale):
        return Glass((255.0, 255.0, 255.0), NEAR_WHITE)
    light = pale.min(axis=1)
    palest = pale[light >= np.quantile(light, 0.9)]
    return Glass((255.0, 255.0, 255.0), _whole(np.median(palest, axis=0)))


def optical_density(image: Image, glass: Glass) -> Density:
    """Natural-logarithm density against the glass, (3, height, width): numpy adds planes fast."""
    table = np.arange(256, dtype=np.float64)[:, None].clip(1) / np.maximum(glass.colour, 1)
    density = -np.log(table).astype(np.float32)  # (256, channel)
    planes = zip(cv2.split(image), density.T, strict=True)
    return np.stack([cv2.LUT(plane, np.ascontiguousarray(one)) for plane, one in planes])


def black_ink(density: Density) -> NDArray[np.bool_]:
    """Where black pen lies, (height, width): dense, and its colour little beside its density."""
    middle = density.mean(axis=0)
    colour = density.max(axis=0) - density.min(axis=0)
    return np.asarray((middle > BLACK_OD) & (colour < BLACK_COLOUR * middle))


def _some_pixels(image: Image) -> NDArray[np.int16]:
    """Evenly spaced pixels of a slightly blurred image, (pixels, 3)."""
    smooth = np.asarray(cv2.blur(image, (3, 3), borderType=cv2.BORDER_REPLICATE)).reshape(-1, 3)
    return smooth[:: max(1, len(smooth) // PIXELS)].astype(np.int16)


def _brighter_half(pixels: NDArray[np.int16]) -> NDArray[np.float64]:
    light = pixels.sum(axis=1)
    return np.asarray(np.median(pixels[light >= np.median(light)], axis=0), np.float64)


def _three(colour: NDArray[np.float64]) -> tuple[float, float, float]:
    return float(colour[0]), float(colour[1]), float(colour[2])


def _whole(colour: NDArray[np.float64]) -> tuple[int, int, int]:
    return round(float(colour[0])), round(float(colour[1])), round(float(colour[2]))
