"""Crop, mirror, quarter turn and resize in one resampling, on the worker."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from histoscope.core.views.spec import GeometrySpec


class Geometry:
    """Drawn as (left, top, width, height as shares, mirrored, quarter turns)."""

    name = "geometry"

    def __init__(self, spec: GeometrySpec, size_px: int) -> None:
        self.spec = spec
        self.size_px = spec.size_px or size_px

    def draw(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """Six numbers: random resized crop as in Szegedy et al. 2015, ten tries, then whole."""
        left, top, width, height = 0.0, 0.0, 1.0, 1.0
        low, high = (math.log(side) for side in self.spec.ratio)
        for _ in range(10):
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
        height, width = image.shape[:2]
        left, top, wide, tall = (float(value) for value in drawn[:4])
        x0, y0 = round(left * width), round(top * height)
        x1 = max(x0 + 1, round((left + wide) * width))
        y1 = max(y0 + 1, round((top + tall) * height))
        part = image[y0:y1, x0:x1]
        shrinks = part.shape[0] >= self.size_px and part.shape[1] >= self.size_px
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        view = cv2.resize(part, (self.size_px, self.size_px), interpolation=how)
        if drawn[4]:
            view = view[:, ::-1]
        return np.ascontiguousarray(np.rot90(view, int(drawn[5])))
