"""Tissue against glass: more green than red or blue light is taken away.

Haematoxylin, eosin, DAB and Giemsa all do so; dust, coverslip edges and black pen do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from histoscope.core.contracts.masks import Subjects
from histoscope.domains.saliency.glass import Glass, black_ink, find_glass, optical_density
from histoscope.domains.saliency.settings import TissueSpec
from histoscope.domains.saliency.shapes import blur, tidy
from histoscope.domains.saliency.stream import Each

if TYPE_CHECKING:
    from histoscope.core.contracts.masks import Image, Mask

SMOOTHING = 1 / 100  # deviation, of the shorter side


@dataclass(frozen=True)
class TissueMaker:
    """Makes masks of tissue; ``maps`` is not needed."""

    settings: TissueSpec
    maps: Any = None

    def of_source(self, images: Sequence[Image]) -> Subjects:
        """Masks of a slide's tiles; fill is the slide's glass."""
        glass = find_glass(images)
        return Subjects(
            Each(images, partial(tissue_mask, glass=glass, settings=self.settings)), glass.fill
        )


def tissue_mask(image: Image, glass: Glass, settings: TissueSpec) -> Mask:
    """Tissue of one tile, bool, (height, width)."""
    sharp, deviation_px = optical_density(image, glass), SMOOTHING * min(image.shape[:2])
    density = np.stack([blur(one, deviation_px) for one in sharp])
    stain = density[1] - np.minimum(density[0], density[2])
    return tidy((stain > settings.stain) & ~black_ink(density), settings.smallest)
