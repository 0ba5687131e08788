"""Crop, mirror, quarter turn and resize in one resampling, on the worker."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from histoscope.core.views.spec import GeometrySpec

TRIES = 10


def overlap(crop: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Which share of a drawn crop lies inside another."""
    sides = (
        min(crop[at] + crop[at + 2], other[at] + other[at + 2]) - max(crop[at], other[at])
        for at in (0, 1)
    )
    width, height = (max(0.0, float(side)) for side in sides)
    return width * height / float(crop[2] * crop[3])


class Geometry:
    """Drawn as (left, top, width, height as shares, mirrored, quarter turns)."""

    name = "geometry"

    def __init__(self, spec: GeometrySpec, size_px: int) -> None:
        self.spec = spec
        self.size_px = spec.size_px or size_px

    def draw(
        self, rng: np.random.Generator, first: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Six numbers.

        Args:
            rng: its generator.
            first: what the first global view has drawn: with ``overlap`` a crop is drawn up to ten
                times until so much of it lies in that view; the last one stays.
        """
        drawn = self._crop(rng)
        if first is not None and self.spec.overlap:
            for _ in range(TRIES - 1):
                if overlap(drawn, first) >= self.spec.overlap:
                    break
                drawn = self._crop(rng)
        return drawn

    def _crop(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """Random resized crop as in Szegedy et al. 2015: ten tries, then the whole image."""
        left, top, width, height = 0.0, 0.0, 1.0, 1.0
        low, high = (math.log(side) for side in self.spec.ratio)
        for _ in range(TRIES):
            area = rng.uniform(*self.spec.scale)
            ratio = math.exp(rng.uniform(low, high))
            wide, tall = math.sqrt(area * ratio), math.sqrt(area / ratio)
            if wide <= 1 and tall <= 1:
                width, height = wide, tall
                left, top = rng.uniform(0, 1 - wide), rng.uniform(0, 1 - tall)
                break
        mirrored = float(self.spec.mirror and rng.random() < 0.5)
        turns = float(rng.integers(4)) if self.spec.quarter_turns else 0.0
        return np.array([left, top, width, height, mirrored, turns], dtype=np.float32)

    def apply(self, image: NDArray[np.uint8], drawn: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Cut, resize (area when shrinking, else linear), mirror and turn one image."""
        return self._cut(image, drawn)

    def apply_to_plane(
        self, plane: NDArray[np.uint8], drawn: NDArray[np.float32]
    ) -> NDArray[np.uint8]:
        """The same of a plane, (height, width), whose values are not blended (nearest)."""
        return self._cut(plane, drawn, cv2.INTER_NEAREST_EXACT)

    def _cut(
        self, image: NDArray[np.uint8], drawn: NDArray[np.float32], how: int | None = None
    ) -> NDArray[np.uint8]:
        height, width = image.shape[:2]
        left, top, wide, tall = (float(value) for value in drawn[:4])
        x0, y0 = round(left * width), round(top * height)
        x1 = max(x0 + 1, round((left + wide) * width))
        y1 = max(y0 + 1, round((top + tall) * height))
        part = image[y0:y1, x0:x1]
        if how is None:
            shrinks = part.shape[0] >= self.size_px and part.shape[1] >= self.size_px
            how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        view = cv2.resize(part, (self.size_px, self.size_px), interpolation=how)
        if drawn[4]:
            view = view[:, ::-1]
        return np.ascontiguousarray(np.rot90(view, int(drawn[5])))
