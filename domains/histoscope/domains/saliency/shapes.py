"""Form of masks: specks and holes, blurs whose reach is a share of the image, guided edges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from histoscope.core.contracts.masks import Mask

Plane = NDArray[np.float32]
N = TypeVar("N", np.uint8, np.float32)


def brightest(image: NDArray[N]) -> NDArray[N]:
    """Each pixel's brightest channel, (height, width); numpy's max over so few is slow."""
    red, green, blue = (image[:, :, channel] for channel in range(3))
    return np.maximum(np.maximum(red, green), blue)


def blur(plane: NDArray[Any], deviation_px: float) -> Plane:
    """Gaussian blur, (height, width) or (height, width, channels); below 0.3 px as it is."""
    given = np.ascontiguousarray(plane, np.float32)
    if deviation_px < 0.3:
        return given
    # by name: a mirrored border may be no wider than the image
    out = cv2.GaussianBlur(given, (0, 0), deviation_px, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(out, np.float32)


def large_parts(mask: Mask, least_px: float) -> Mask:
    """Without connected parts of fewer pixels."""
    _, names, facts, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    large = facts[:, cv2.CC_STAT_AREA] >= least_px
    large[0] = False
    return np.asarray(large[names], np.bool_)


def tidy(mask: Mask, smallest: float) -> Mask:
    """Without specks, then without holes, of less than a share of the image."""
    least_px = smallest * mask.size
    return ~large_parts(~large_parts(mask, least_px), least_px)


def enlarged(mask: Mask, shape: Sequence[int]) -> Mask:
    """A mask in another size, (height, width), its border smooth."""
    if mask.shape == tuple(shape):
        return mask
    size = (shape[1], shape[0])
    soft = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(soft > 0.5)


def disc(radius_px: float) -> NDArray[np.uint8]:
    """A round kernel for cv2's morphology."""
    side = 2 * max(0, round(radius_px)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)


def grown(mask: Mask, radius_px: float) -> Mask:
    """With all that lies within a distance; a negative one takes away as much."""
    act = cv2.dilate if radius_px > 0 else cv2.erode
    return np.asarray(act(mask.astype(np.uint8), disc(abs(radius_px))), np.bool_)


def opened(mask: Mask, radius_px: float) -> Mask:
    """Without what is thinner than twice the radius."""
    kernel = disc(radius_px)
    return np.asarray(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, kernel), np.bool_)


def closed(mask: Mask, radius_px: float) -> Mask:
    """With gaps that are thinner than twice the radius filled."""
    kernel = disc(radius_px)
    return np.asarray(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, kernel), np.bool_)


def guided(plane: Plane, guide: Plane, radius_px: int, epsilon: float) -> Plane:
    """Smooth a plane along the borders of a guide.

    Args:
        plane: (height, width).
        guide: (height, width), 0 to 1.
        radius_px: of the square windows, >= 1.
        epsilon: variance of the guide below which a window counts as flat.

    Source: He, Sun and Tang 2010, "Guided image filtering", with a grey guide.
    """
    side = (2 * radius_px + 1,) * 2

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(cv2.blur(values, side, borderType=cv2.BORDER_REPLICATE))

    p, i = plane.astype(np.float64), guide.astype(np.float64)
    mean_p, mean_i = mean(p), mean(i)
    slope = (mean(i * p) - mean_i * mean_p) / (mean(i * i) - mean_i**2 + epsilon)
    return np.asarray(mean(slope) * i + mean(mean_p - slope * mean_i), np.float32)


def otsu(values: Plane, bins: int = 256) -> float:
    """The threshold between two classes with the largest variance between them (Otsu 1979).

    Args:
        values: any shape, at least one, finite. All equal: that value.
    """
    low, high = float(values.min()), float(values.max())
    if not high > low:
        return high
    counts, edges = np.histogram(values, bins, (low, high))
    centres = (edges[:-1] + edges[1:]) / 2
    below = counts.cumsum()[:-1]
    above = values.size - below
    sums = (counts * centres).cumsum()
    gap = (sums[-1] - sums[:-1]) / above.clip(1) - sums[:-1] / below.clip(1)
    between = below.astype(np.float64) * above * gap**2
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    return float(edges[1:-1][best].mean())
