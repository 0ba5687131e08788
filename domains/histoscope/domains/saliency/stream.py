"""Images of a source, one after another: some of them measured, all of them masked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from histoscope.core.contracts.masks import Image, Mask

S = TypeVar("S")
T = TypeVar("T")
MOST = 128  # images that a source is measured on; at most twice as many are kept on the way


def measured(images: Iterator[S], measure: Callable[[S], T], most: int = MOST) -> list[T]:
    """What is measured on evenly spaced images, every one where they are few.

    Their number is not known beforehand: every image is measured until there are twice as many
    as wanted, then every second is dropped and every second measured from there on, and so on.

    Args:
        images: of a source, in order; each may come with something.
        measure: of an image; its results are kept, images are not.
        most: fewer than twice as many results are given.
    """
    kept: list[T] = []
    step = 1
    for number, image in enumerate(images):
        if number % step:
            continue
        kept.append(measure(image))
        if len(kept) == 2 * most:
            kept, step = kept[::2], 2 * step
    return kept


@dataclass(frozen=True)
class Each:
    """A mask for each image, made when it is asked for, as often as it is."""

    images: Callable[[], Iterator[Image]]
    mask: Callable[[Image], Mask]

    def __iter__(self) -> Iterator[Mask]:
        for image in self.images():
            yield np.ascontiguousarray(self.mask(image), dtype=np.bool_)
