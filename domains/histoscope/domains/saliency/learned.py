"""Masks learned from hand-made ones: in a source their faults differ, what they mean does not.

After DeepUSPS (Nguyen et al. 2019): masks of a hand-made provider are noisy targets of a model that
is too simple to repeat their noise. Differs: the model is a logistic regression over places of the
images of one source, on colour, texture and place (``traits``) and an encoder's map; it is fitted
once, to one provider's masks. More rounds, each fitted to a moving average of predictions for
images that were left out, were measured and gave nothing more (docs/masks.md).

A place's logit is linear in the map, so that a map counts as one plane: channels are weighed first
and brought to the grid then. The mask is the mean of both opinions along the image's edges. Where
the hand-made masks of a source are all empty or all full there is nothing to learn: they stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from histoscope.core.contracts.masks import MaskMaker, Subjects
from histoscope.core.errors import UsageError
from histoscope.core.randomness import generator
from histoscope.domains.saliency.like import other_maker
from histoscope.domains.saliency.settings import LearnedSpec
from histoscope.domains.saliency.shapes import Plane, guided, tidy
from histoscope.domains.saliency.stream import evenly
from histoscope.domains.saliency.traits import grid_of, traits

if TYPE_CHECKING:
    from histoscope.core.contracts.masks import Image, Maps, Mask, OpenMaps

PLACES = 512  # of an image
STRENGTH = 3.0  # of an image's mean loss against half the squared weights: few images say less
COMPONENTS = 32  # of an encoder's map, by variance
LEAST_MAP = 4  # rows and columns
BATCH = 8
WINDOW, FLAT = 1 / 100, 1e-3  # of the guided filter: radius, of the longer side; variance
EVEN = 0.008  # deviation of grey, 0 to 1; an image with less, as a black frame, shows no subject


@dataclass(frozen=True)
class LearnedMaker:
    """Makes masks from another provider's. Pickles where that does and what ``maps`` opens.

    Raises:
        UsageError: the other provider is unknown, is this one, or refuses its settings; the
            encoder's maps have fewer than 4 x 4 places at this ``size_px``.
    """

    settings: LearnedSpec
    maps: OpenMaps = field(repr=False)
    other: MaskMaker = field(init=False, repr=False)
    opened: Maps | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "other", other_maker("learned", self.settings, self.maps))
        object.__setattr__(self, "opened", self._opened())
        object.__setattr__(self, "maps", None)

    def of_source(self, images: Sequence[Image]) -> Subjects:
        """Masks of each image; fill is the other provider's."""
        like = self.other.of_source(images)
        some = evenly(len(images))
        opinion = learn(
            [self._sample(images[n], mask) for n, mask in enumerate(like.masks) if n in some]
        )
        masks = like.masks if opinion is None else _Learned(self, images, like, opinion)
        return Subjects(masks, like.fill)

    def planes(self, images: list[Image]) -> list[Plane | None]:
        """Of each image its map, (channels, rows, columns), if there is an encoder."""
        return [None] * len(images) if self.opened is None else list(self.opened(images))

    def _sample(self, image: Image, mask: Mask) -> Sample:
        return sample(image, mask, self.planes([image])[0])

    def _opened(self) -> Maps | None:
        word, side = self.settings.encoder, self.settings.size_px
        if word is None:
            return None
        opened = self.maps(word, side)
        least = min(opened([np.full((side, side, 3), 128, np.uint8)]).shape[2:])
        if least < LEAST_MAP:
            enough = -(-LEAST_MAP * side // max(1, least))
            raise UsageError(
                f"provider learned: {word} gives a map of {least} x {least} at size_px {side}, "
                f"too coarse; size_px {enough} gives {LEAST_MAP} x {LEAST_MAP}"
            )
        return opened


@dataclass(frozen=True)
class Sample:
    """Some places of an image.

    Attributes:
        target: how much of each place the mask covers, 0 to 1, (places,).
        traits: (places, traits).
        map: of the whole image, float16 for memory's sake, (channels, rows, columns).
        size, places: the grid's columns and rows, and which of its cells.
    """

    target: NDArray[np.float32]
    traits: NDArray[np.float32]
    map: NDArray[np.float16] | None
    size: tuple[int, int]
    places: NDArray[np.int64]


def sample(image: Image, mask: Mask, plane: Plane | None) -> Sample:
    """Places that depend on the grid's size alone, and what is known of them."""
    columns, rows = size = grid_of(image)
    places = generator(0, "masks/learned", columns, rows).permutation(columns * rows)[:PLACES]
    share = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    known = traits(image)
    return Sample(
        np.asarray(share, np.float32).ravel()[places],
        known.reshape(-1, known.shape[2])[places],
        None if plane is None else plane.astype(np.float16),
        size,
        places,
    )


@dataclass(frozen=True)
class Opinion:
    """What a source's masks have in common: how far a place belongs to the subject.

    Attributes:
        traits, channels: weights of each.
        offset: added; places above 0 are as many as masks cover.
    """

    traits: NDArray[np.float32]
    channels: NDArray[np.float32]
    offset: float

    def __call__(self, image: Image, plane: Plane | None) -> Plane:
        """Belief that a place is subject, 0 to 1, (rows, columns) of the image's grid."""
        logit = traits(image) @ self.traits + self.offset
        if plane is not None:
            weighed = np.tensordot(self.channels, plane.astype(np.float32), 1)
            logit += cv2.resize(weighed, grid_of(image), interpolation=cv2.INTER_LINEAR)
        return np.asarray(1 / (1 + np.exp(-logit.clip(-30, 30))), np.float32)


def learn(seen: list[Sample]) -> Opinion | None:
    """Fit places to the masks that cover them; None where masks are all empty or all full.

    Images weigh alike, whatever their number of places.
    """
    target = np.concatenate([*(one.target for one in seen), np.zeros(0, np.float32)])
    if not len(target) or np.ptp(target) < 1e-6:
        return None
    weight = np.concatenate([np.full(len(one.places), 1 / len(one.places)) for one in seen])
    basis = _basis(seen)
    known = np.concatenate([_known(one, basis) for one in seen])
    mean, deviation = known.mean(axis=0), known.std(axis=0)
    scale = np.where(deviation > 1e-5, 1 / deviation.clip(1e-5), 0)
    weights = _fitted((known - mean) * scale, target, weight) * scale
    offset = -float(np.quantile(known @ weights, 1 - np.average(target, weights=weight)))
    count = seen[0].traits.shape[1]
    return Opinion(
        weights[:count].astype(np.float32),
        (basis @ weights[count:]).astype(np.float32),
        offset,
    )


def _basis(seen: list[Sample]) -> NDArray[np.float64]:
    """Directions in which maps vary most, (channels, components); none without maps."""
    vectors = [one.map.reshape(len(one.map), -1) for one in seen if one.map is not None]
    if not vectors:
        return np.zeros((0, 0))
    mean = np.mean([one.mean(axis=1, dtype=np.float64) for one in vectors], axis=0)
    spread = np.zeros((len(mean), len(mean)))
    for one in vectors:
        away = one.astype(np.float64) - mean[:, None]
        spread += away @ away.T
    _, directions = np.linalg.eigh(spread)
    return np.asarray(directions[:, ::-1][:, :COMPONENTS], np.float64)


def _known(one: Sample, basis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Traits and components at the places of an image, (places, both)."""
    if one.map is None:
        return one.traits.astype(np.float64)
    parts = np.tensordot(basis.T, one.map.astype(np.float64), 1).transpose(1, 2, 0)
    finer = cv2.resize(np.ascontiguousarray(parts), one.size, interpolation=cv2.INTER_LINEAR)
    return np.concatenate((one.traits, finer.reshape(-1, basis.shape[1])[one.places]), axis=1)


def _fitted(
    known: NDArray[np.float64], target: NDArray[np.float32], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weights of a logistic regression on shares: each place counts once for either side."""
    from sklearn.linear_model import LogisticRegression

    sides = np.repeat((True, False), len(target))
    both = np.concatenate((weight * target, weight * (1 - target)))
    counts = both > 0
    model = LogisticRegression(C=STRENGTH, max_iter=1000)
    model.fit(np.concatenate((known, known))[counts], sides[counts], sample_weight=both[counts])
    return np.asarray(model.coef_[0], np.float64)


@dataclass(frozen=True)
class _Learned:
    """A mask for each image, a few images at a time, as often as they are asked for."""

    maker: LearnedMaker
    images: Sequence[Image]
    like: Subjects
    opinion: Opinion

    def __iter__(self) -> Iterator[Mask]:
        pairs = zip(self.images, self.like.masks, strict=True)
        while some := list(islice(pairs, BATCH)):
            planes = self.maker.planes([image for image, _ in some])
            for (image, mask), plane in zip(some, planes, strict=True):
                belief = self.opinion(image, plane)
                yield learned_mask(image, mask, belief, self.maker.settings)


def learned_mask(image: Image, mask: Mask, belief: Plane, settings: LearnedSpec) -> Mask:
    """Where a mask and what was learned agree that the subject is, bool, (height, width).

    An image that is all alike keeps its mask: what was learned has nothing to tell apart.

    Args:
        image: (height, width, 3).
        mask: the other provider's, (height, width).
        belief: 0 to 1, (rows, columns) of a grid.
        settings: how much the mask is trusted, and what is too small.
    """
    grey = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) / 255).astype(np.float32)
    if grey.std() < EVEN:
        return mask
    height, width = image.shape[:2]
    own = np.asarray(cv2.resize(belief, (width, height), interpolation=cv2.INTER_LINEAR))
    both: Plane = (settings.trust * mask + (1 - settings.trust) * own).astype(np.float32)
    soft = guided(both, grey, max(1, round(WINDOW * max(height, width))), FLAT)
    return np.ascontiguousarray(tidy(soft > 0.5, settings.smallest))
