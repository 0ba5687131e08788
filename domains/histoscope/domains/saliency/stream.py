"""Images of a source: some of them measured, all of them masked, one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from histoscope.core.contracts.masks import Image, Mask

T = TypeVar("T")
MOST = 128  # images that a source is measured on


def evenly(count: int, most: int = MOST) -> range:
    """Places of at most so many of ``count`` images, evenly spaced from the first."""
    return range(0, count, max(1, -(-count // most)))


def measured(images: Sequence[Image], measure: Callable[[Image], T], most: int = MOST) -> list[T]:
    """What is measured on evenly spaced images, every one where they are few.

    Args:
        images: of a source; no others are read.
        measure: of an image; its results are kept, images are not.
        most: at most so many are measured.
    """
    return [measure(images[place]) for place in evenly(len(images), most)]


@dataclass(frozen=True)
class Each:
    """A mask for each image, made when it is asked for, as often as it is."""

    images: Sequence[Image]
    mask: Callable[[Image], Mask]

    def __iter__(self) -> Iterator[Mask]:
        for image in self.images:
            yield np.ascontiguousarray(self.mask(image), dtype=np.bool_)
