"""The patches that an encoder sets apart from the rest of an image: a normalised cut.

After TokenCut (Wang et al. 2022, "Self-supervised transformers for unsupervised object discovery
using normalized cut"): patches are the nodes of a graph, joined the more the more alike they are;
the second smallest eigenvector of (D - W) x = lambda D x is split at its mean. Differs: features
are taken less what is usual at their place in the source, without which those of networks with
ReLU are all alike, and a scope's dark surround is the first thing set apart. What is alike is then
measured by distance, 1 - |a - b|^2 / 2 in units of the map's own root mean square: the cosine,
where all features are equally long, but it also tells what is usual from what is not. Weights are
exp((alike - 1) / temperature), not 1 or nearly 0; which side is the subject may be decided by the
source; borders follow the image's.

An image whose two groups differ by less than ``gap`` (how much patches of one group are alike, less
how much those of two are) has no subject: its mask is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from histoscope.core.contracts.masks import Subjects
from histoscope.core.errors import UsageError
from histoscope.domains.saliency.settings import GroupingSpec
from histoscope.domains.saliency.shapes import Plane, guided
from histoscope.domains.saliency.stream import measured

if TYPE_CHECKING:
    from histoscope.core.contracts.masks import Image, Maps, Mask, OpenMaps

Array = NDArray[np.float32]
LEAST_MAP = 8  # rows and columns; a coarser map gives blocks, not borders
SOURCE_IMAGES = 32  # at least so many, fewer than twice as many, give a source's mean
BATCH = 16
SHARED = 4  # a place's own mean weighs n / (n + SHARED) after n images, else the mean of all places
WINDOW, FLAT = 1 / 32, 1e-3  # of the guided filter: radius, of the longer side; variance
DARKEST_FILL = 8


@dataclass(frozen=True)
class GroupingMaker:
    """Makes masks from an encoder's feature maps. Pickles where what ``maps`` opens does.

    Raises:
        UsageError: the encoder's maps have fewer than 8 x 8 patches at this ``size_px``.
    """

    settings: GroupingSpec
    maps: OpenMaps = field(repr=False)
    opened: Maps = field(init=False, repr=False)

    def __post_init__(self) -> None:
        word, side = self.settings.encoder, self.settings.size_px
        opened = self.maps(word, side)
        grey = np.full((side, side, 3), 128, np.uint8)
        least = min(opened([grey]).shape[2:])
        if least < LEAST_MAP:
            enough = -(-LEAST_MAP * side // max(1, least))
            raise UsageError(
                f"provider grouping: {word} gives a map of {least} x {least} at size_px {side}, "
                f"too coarse; size_px {enough} gives {LEAST_MAP} x {LEAST_MAP}"
            )
        object.__setattr__(self, "opened", opened)
        object.__setattr__(self, "maps", None)

    def of_source(self, images: Callable[[], Iterator[Image]]) -> Subjects:
        """Masks of each image; fill is the mean colour of the source's images."""
        facts = measured(images(), self._facts, SOURCE_IMAGES)
        if not facts:
            return Subjects(_Groups(self, images, np.zeros(1, np.float32)), (128, 128, 128))
        colour = np.mean([one[0] for one in facts], axis=0).clip(DARKEST_FILL)
        usual = _usual([one[1] for one in facts])
        fill = (round(float(colour[0])), round(float(colour[1])), round(float(colour[2])))
        return Subjects(_Groups(self, images, usual), fill)

    def features(self, images: list[Image]) -> Array:
        """Feature maps, (images, channels, rows, columns)."""
        size = (self.settings.size_px,) * 2
        sized = [
            np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
            for image in images
        ]
        return np.asarray(self.opened(sized), np.float32)

    def _facts(self, image: Image) -> tuple[Array, Array]:
        """Mean colour and feature map of an image."""
        return (
            image.reshape(-1, 3).mean(axis=0, dtype=np.float64).astype(np.float32),
            self.features([image])[0],
        )


@dataclass(frozen=True)
class _Groups:
    """A mask for each image, a few images at a time, as often as they are asked for."""

    maker: GroupingMaker
    images: Callable[[], Iterator[Image]]
    usual: Array

    def __iter__(self) -> Iterator[Mask]:
        images = self.images()
        while some := list(islice(images, BATCH)):
            for image, one in zip(some, self.maker.features(some), strict=True):
                yield grouping_mask(image, one - self.usual, self.maker.settings)


def _usual(maps: list[Array]) -> Array:
    """What is usual at each place: its mean, drawn to that of all places where images are few."""
    places = np.mean(maps, axis=0, dtype=np.float64)
    weight = len(maps) / (len(maps) + SHARED)
    whole = places.mean(axis=(1, 2), keepdims=True)
    return np.asarray(weight * places + (1 - weight) * whole, np.float32)


def grouping_mask(image: Image, features: Array, settings: GroupingSpec) -> Mask:
    """The subject of one image, bool, (height, width); empty where there are no two groups.

    Args:
        image: (height, width, 3).
        features: its map less what is usual, (channels, rows, columns).
        settings: of the cut.
    """
    height, width = image.shape[:2]
    score = cut(features, settings)
    if score is None:
        return np.zeros((height, width), np.bool_)
    soft: Plane = cv2.resize(score, (width, height)).astype(np.float32)
    if settings.refined:
        grey = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) / 255).astype(np.float32)
        soft = guided(soft, grey, max(1, round(WINDOW * max(height, width))), FLAT)
    return np.ascontiguousarray(soft > 0)


def cut(features: Array, settings: GroupingSpec) -> Plane | None:
    """How much each patch belongs to the subject: above 0 it does, (rows, columns), -1 to 1.

    None where the two groups are not told apart.
    """
    flat = features.reshape(len(features), -1).T.astype(np.float64)  # (patches, channels)
    squares = (flat**2).sum(axis=1)
    if not squares.mean() > 1e-12:
        return None
    distances = (squares[:, None] + squares[None, :] - 2 * flat @ flat.T).clip(0)
    alike = 1 - distances / (2 * squares.mean())
    weights = np.exp((alike - 1) / settings.temperature)
    degree = weights.sum(axis=1)
    scaled = weights / np.sqrt(np.outer(degree, degree))
    _, vectors = eigh(scaled, subset_by_index=[len(flat) - 2, len(flat) - 1])
    second = vectors[:, 0] / np.sqrt(degree)
    second = second - second.mean()
    one = second > 0
    if one.all() or not one.any() or second.min() >= 0 or _gap(alike, one) < settings.gap:
        return None
    if not _is_subject(one, second, flat, settings):
        second = -second
    return _evened(second).reshape(features.shape[1:]).astype(np.float32)


def _evened(second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each side's mean is brought to 1 and -1: then borders lie midway between patches."""
    above, below = second[second > 0].mean(), second[second <= 0].mean()
    return np.asarray(np.where(second > 0, second / above, -second / below).clip(-1, 1))


def _gap(alike: NDArray[np.float64], one: NDArray[np.bool_]) -> float:
    """How much pairs in one group are alike on average, less how much pairs in two are."""
    same = one[:, None] == one[None, :]
    return float(alike[same].mean() - alike[~same].mean())


def _is_subject(
    one: NDArray[np.bool_],
    second: NDArray[np.float64],
    flat: NDArray[np.float64],
    settings: GroupingSpec,
) -> bool:
    """Whether the group where the eigenvector is above its mean is the subject."""
    if settings.side == "apart":
        return bool(one[np.abs(second).argmax()])
    away = [np.linalg.norm(flat[group].mean(axis=0)) for group in (one, ~one)]
    return bool(away[0] > away[1])
