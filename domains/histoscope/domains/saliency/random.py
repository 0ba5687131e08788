"""A control: in each image as many pixels as another provider takes, but anywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from histoscope.core.contracts.masks import MaskMaker, Subjects
from histoscope.core.randomness import generator
from histoscope.domains.saliency.like import other_maker
from histoscope.domains.saliency.settings import RandomSpec
from histoscope.domains.saliency.shapes import blur

if TYPE_CHECKING:
    from histoscope.core.contracts.masks import Image, Mask, OpenMaps


@dataclass(frozen=True)
class RandomMaker:
    """Makes random masks.

    Raises:
        UsageError: the other provider is unknown, is this one, or refuses its settings.
    """

    settings: RandomSpec
    maps: OpenMaps = field(repr=False)
    other: MaskMaker = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "other", other_maker("random", self.settings, self.maps))
        object.__setattr__(self, "maps", None)  # so that it pickles where the other does

    def of_source(self, images: Sequence[Image]) -> Subjects:
        """Random masks, each with as many pixels as the other's; fill is the other's."""
        like = self.other.of_source(images)
        return Subjects(_Elsewhere(images, like, self.settings.scale), like.fill)


@dataclass(frozen=True)
class _Elsewhere:
    """A random mask for each image, as often as they are asked for."""

    images: Sequence[Image]
    like: Subjects
    scale: float

    def __iter__(self) -> Iterator[Mask]:
        for image, mask in zip(self.images, self.like.masks, strict=True):
            yield random_mask(image, int(mask.sum()), self.scale)


def random_mask(image: Image, pixels: int, scale: float) -> Mask:
    """So many pixels, where smooth noise is highest; the noise depends on the image alone.

    Args:
        image: (height, width, 3).
        pixels: how many.
        scale: deviation of the noise's blur, as a share of the longer side.
    """
    digest = hashlib.blake2b(np.ascontiguousarray(image).tobytes(), digest_size=7).digest()
    rng = generator(int.from_bytes(digest, "little"), "masks/random")
    shape = image.shape[:2]
    noise = blur(rng.standard_normal(shape), scale * max(shape)).ravel()
    mask = np.zeros(noise.size, np.bool_)
    mask[np.argsort(-noise, kind="stable")[:pixels]] = True
    return mask.reshape(shape)
