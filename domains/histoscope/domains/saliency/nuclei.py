"""Regions rich in nuclei: where haematoxylin lies dense, seen with a blur of a few micrometres.

The two stains are told apart in optical density against the slide's glass (Ruifrok and Johnston
2001). A little below Otsu's threshold over the tiles of a slide its tissue is divided in two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from histoscope.core.contracts.masks import Subjects
from histoscope.domains.saliency.glass import (
    Density,
    Glass,
    black_ink,
    find_glass,
    optical_density,
)
from histoscope.domains.saliency.settings import NucleiSpec
from histoscope.domains.saliency.shapes import Plane, blur, enlarged, otsu, tidy
from histoscope.domains.saliency.stream import Each, measured

if TYPE_CHECKING:
    from histoscope.core.contracts.masks import Image, Mask

# red, green, blue optical density of haematoxylin and eosin, Ruifrok and Johnston 2001, table 2
STAINS = np.array(((0.65, 0.70, 0.29), (0.07, 0.99, 0.11)))
UNIT = STAINS / np.linalg.norm(STAINS, axis=1, keepdims=True)
WEIGHTS = np.linalg.pinv(UNIT)[:, 0].astype(np.float32)  # (channel,)
STAINED_OD = 0.10  # mean over the channels; what has less is glass and does not vote
LEAST_OD = 0.12  # a threshold, or a range, below this would call noise nuclei
# of Otsu's threshold: nuclei are fewer than what lies between them, which draws it upwards. Chosen
# on seven of fourteen fields, see docs/masks.md
LENIENT = 0.9
PIXELS = 4096
FINE = 2  # cells that a blur's deviation has at least, where there are as many pixels


@dataclass(frozen=True)
class NucleiMaker:
    """Makes masks of regions rich in nuclei; ``maps`` is not needed."""

    settings: NucleiSpec
    maps: Any = None

    def of_source(self, images: Sequence[Image]) -> Subjects:
        """Masks of a slide's tiles; fill is the slide's glass, or its palest tone."""
        glass = find_glass(images)
        some = partial(_some_values, glass=glass, settings=self.settings)
        values = np.concatenate([*measured(images, some), np.zeros(0, np.float32)])
        limit = _limit(values)
        mask = partial(nuclei_mask, glass=glass, limit=limit, settings=self.settings)
        return Subjects(Each(images, mask), glass.fill)


def _limit(values: Plane) -> float:
    """What rich regions have more of; infinite where all tissue is alike."""
    if not values.size or np.ptp(values) < LEAST_OD:
        return np.inf
    return max(LEAST_OD, LENIENT * otsu(values))


def nuclei_mask(image: Image, glass: Glass, limit: float, settings: NucleiSpec) -> Mask:
    """Where there is more haematoxylin than the limit, bool, (height, width)."""
    dense = smooth(haematoxylin(optical_density(image, glass)), settings.smoothing)
    return enlarged(tidy(dense > limit, settings.smallest), image.shape[:2])


def haematoxylin(density: Density) -> Plane:
    """Amount of haematoxylin in densities of (3, height, width).

    The amounts of both stains are those that explain the three densities best (least squares);
    amounts below 0 are 0, and black pen has none.
    """
    return np.where(black_ink(density), 0, np.tensordot(WEIGHTS, density, 1).clip(0))


def smooth(plane: Plane, smoothing: float) -> Plane:
    """Blurred by a share of the shorter side, on a grid as coarse as that allows."""
    height, width = plane.shape
    deviation_px = smoothing * min(height, width)
    step = max(1, int(deviation_px / FINE))
    if step > 1:
        size = (-(-width // step), -(-height // step))
        plane = np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.float32)
    return blur(plane, deviation_px / step)


def _some_values(image: Image, glass: Glass, settings: NucleiSpec) -> Plane:
    """Blurred haematoxylin of evenly spaced pixels of tissue."""
    density = optical_density(image, glass)
    stained = smooth(density.mean(axis=0), settings.smoothing) > STAINED_OD
    seen = smooth(haematoxylin(density), settings.smoothing)[stained]
    return seen[:: max(1, len(seen) // PIXELS)]
