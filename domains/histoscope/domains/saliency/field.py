"""The round field of view of a scope, against the dark around it.

Found once over the frames of a source: the surround is dark in nearly all of them, reaches the
picture's edge, and what it leaves is convex, also where the picture is squashed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from histoscope.core.contracts.masks import Subjects
from histoscope.domains.saliency.settings import FieldSpec
from histoscope.domains.saliency.shapes import brightest, enlarged, grown, large_parts, opened
from histoscope.domains.saliency.stream import Each, measured

if TYPE_CHECKING:
    from histoscope.core.contracts.masks import Image, Mask

GRID_PX = 128  # frames are looked at on a grid of so many rows and columns
DARKEST, BRIGHTEST = 14.0, 50.0  # the surround's brightest channel, compression noise included
ABOVE = 8.0  # the field is so much brighter than the corners
SEEN = 0.5  # quantile over frames: a scope that was changed, or a menu, is not in most of them
DIM = 0.1  # quantile over frames of what a dark place of tissue looks like
BLACK_LEVEL = 10.0  # mean grey; such frames show nothing and do not vote
LEAST_SURROUND, LEAST_FIELD = 0.01, 0.2  # of the picture; else there is no surround
DARK_TISSUE = (40, 16, 14)  # where no frame shows any tissue


@dataclass(frozen=True)
class View:
    """What a source's frames look through.

    Attributes:
        field: True inside, bool, (GRID_PX, GRID_PX), squashed to that grid.
        fill: RGB of the surround in most frames; without one, of the darkest tissue.
    """

    field: Mask
    fill: tuple[int, int, int]

    def mask(self, image: Image) -> Mask:
        """The field at an image's size, bool, (height, width)."""
        if self.field.all():
            return np.ones(image.shape[:2], np.bool_)
        return enlarged(self.field, image.shape[:2])


@dataclass(frozen=True)
class FieldMaker:
    """Makes masks of the field of view; ``maps`` is not needed."""

    settings: FieldSpec
    maps: Any = None

    def of_source(self, images: Sequence[Image]) -> Subjects:
        """The field, the same in each frame; fill is the surround."""
        view = find_view(images)
        return Subjects(
            Each(images, partial(field_mask, view=view, margin=self.settings.margin)), view.fill
        )


def field_mask(image: Image, view: View, margin: float) -> Mask:
    """The field less a margin inside its edge; the picture's own edges have none."""
    mask, away_px = view.mask(image), margin * min(image.shape[:2])
    return grown(mask, -away_px) if round(away_px) else mask


def find_view(images: Sequence[Image]) -> View:
    """The field of a source's frames and what fills the place of subjects in them."""
    small = [one for one in measured(images, _small) if one.mean() >= BLACK_LEVEL]
    everywhere = np.ones((GRID_PX, GRID_PX), np.bool_)
    if not small:
        return View(everywhere, DARK_TISSUE)
    light = np.quantile([brightest(one) for one in small], SEEN, axis=0)
    surround = _surround(light)
    field = _convex(opened(~surround, 2)) if surround.any() else everywhere
    outside = surround & ~grown(field, 2)
    if field.mean() < LEAST_FIELD or outside.mean() < LEAST_SURROUND:
        return View(everywhere, _darkest_tissue(np.quantile(small, DIM, axis=0)))
    colour = np.median(small, axis=0)[outside].mean(axis=0)
    return View(field, (round(colour[0]), round(colour[1]), round(colour[2])))


def _small(image: Image) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(image, (GRID_PX, GRID_PX), interpolation=cv2.INTER_AREA))


def _surround(light: NDArray[np.float64]) -> Mask:
    """What is as dark as the darkest corner and touches the picture's edge."""
    corners = [
        light[y, x] for y in (slice(4), slice(-4, None)) for x in (slice(4), slice(-4, None))
    ]
    level = min(float(np.median(corner)) for corner in corners)
    if level > BRIGHTEST:
        return np.zeros(light.shape, np.bool_)
    dark = light <= max(DARKEST, level + ABOVE)
    around = np.pad(dark, 1, constant_values=True).astype(np.uint8)
    _, names = cv2.connectedComponents(around, connectivity=4)
    return np.asarray(names[1:-1, 1:-1] == names[0, 0]) & dark


def _convex(mask: Mask) -> Mask:
    """The convex hull of the largest part; nothing stays nothing."""
    _, _, facts, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if len(facts) < 2:
        return mask
    part = large_parts(mask, facts[1:, cv2.CC_STAT_AREA].max())
    hull = cv2.convexHull(np.argwhere(part)[:, ::-1].astype(np.int32))
    out = np.zeros(mask.shape, np.uint8)
    return np.asarray(cv2.fillConvexPoly(out, hull, 1), np.bool_)


def _darkest_tissue(dim: NDArray[np.float64]) -> tuple[int, int, int]:
    """Mean of the darkest twentieth of what is reddish, (rows, columns, 3), and not black."""
    flat = dim.reshape(-1, 3)
    flat = flat[flat.max(axis=1) > DARKEST]
    red = flat[(flat[:, 0] > 1.1 * flat[:, 1]) & (flat[:, 0] > flat[:, 2])]
    if not len(red):
        return DARK_TISSUE
    light = red.sum(axis=1)
    colour = red[light <= np.quantile(light, 0.05)].mean(axis=0)
    return round(colour[0]), round(colour[1]), round(colour[2])
