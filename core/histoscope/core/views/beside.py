"""What comes with a batch of views beside its images, and operations that use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Donor:
    """Second images of a batch, cut as views of the family ``donor`` and else untouched.

    Attributes:
        images: (batch, 3, height, width), RGB in 0..1.
        planes: by kind, uint8, (batch, height, width).
        fills: by kind of plane, as of :class:`Beside`.
    """

    images: Tensor
    planes: Mapping[str, Tensor]
    fills: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Beside:
    """What a batch of views has beside its images.

    Attributes:
        planes: by kind, uint8, (batch, height, width).
        fills: by kind of plane what lies behind its subjects in the image's source, RGB in 0..1,
            (batch, 3).
        donors: second images of each, of this view alone, slot by slot.
    """

    planes: Mapping[str, Tensor] = field(default_factory=dict)
    fills: Mapping[str, Tensor] = field(default_factory=dict)
    donors: Sequence[Donor] = ()


class Compositor(Protocol):
    """A device operation that puts parts of several images together, where planes say.

    Attributes:
        name, width: as of a device operation; it also draws as one.
        planes: by their kind ``provider@version`` of the planes that it wants, None: the only one.
        donors: second images that it wants of each view: others than the other view's.
        matches: whether it makes images that oppose a view, see ``match``; the first operation
            alone may.
    """

    name: str
    width: int
    planes: Mapping[str, str | None]
    donors: int
    matches: bool

    def draw(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """``width`` numbers for one image."""

    def compose(self, images: Tensor, drawn: Tensor, beside: Beside) -> Tensor:
        """Images (batch, 3, height, width), RGB in 0..1; drawn (batch, width). Pure."""

    def fits(self, images: Tensor, beside: Beside) -> Tensor:
        """Of which images it can compose one, bool, (batch,)."""

    def match(self, images: Tensor, drawn: Tensor, beside: Beside) -> tuple[Tensor, Tensor]:
        """Images that share with a view what does not matter, and of which rows there is one.

        Returns:
            (batch, 3, height, width), and bool, (batch,).
        """
