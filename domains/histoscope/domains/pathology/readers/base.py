"""What the tile reader asks of any picture file: levels, pixels of a level, facts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from histoscope.core.contracts import Scalar
from histoscope.domains.pathology.tiling import Box

WHITE = (255, 255, 255)


class RegionFault(Exception):
    """A region could not be read; the next one may be. The message is one line, without names."""


@dataclass(frozen=True)
class Region:
    """Pixels of one level.

    Attributes:
        image: uint8, (height, width, 3), RGB, on the file's background colour.
        valid: bool, (height, width); False where the scanner saw nothing. None: all seen.
        x, y: where its upper left corner lies, px of the level; may be a fraction.
    """

    image: NDArray[np.uint8]
    valid: NDArray[np.bool_] | None
    x: float
    y: float


class Pyramid(Protocol):
    """An open picture.

    Attributes:
        levels: width and height of every level, finest first.
        mpp: um per level-0 pixel, x and y, as the file has it; None when it says nothing.
        scale_fault: why what the file says of its scale cannot be read; empty where it can.
        said: what the user should know of how it is read, one line; empty when all is plain.
        scanned: box at level 0 outside of which there is nothing to search.
    """

    levels: Sequence[tuple[int, int]]
    mpp: tuple[float, float] | None
    scale_fault: str
    said: str
    scanned: Box

    @property
    def facts(self) -> Mapping[str, Scalar]:
        """Whitelisted facts; never a name, a date, a label or a description."""

    def read(self, level: int, box: Box) -> Region:
        """Pixels that cover at least ``box`` (px of ``level``, inside the level).

        Raises:
            RegionFault: this region cannot be read.
        """

    def close(self) -> None:
        """Let the file go."""


@runtime_checkable
class Halving(Protocol):
    """A picture that can be decoded at a half, a quarter or an eighth of a level's size."""

    def halves(self, level: int, factor: int) -> bool:
        """Whether it can, 2, 4 or 8 times smaller."""

    def halved(self, level: int, factor: int, box: Box) -> NDArray[np.uint8] | None:
        """A box of a level, made smaller by the decoder; None where it cannot be had so.

        Args:
            level: whose pixels ``box`` counts.
            factor: 2, 4 or 8.
            box: its edges are multiples of ``factor``; it may end behind the level by less.

        Returns:
            uint8, (box.height / factor, box.width / factor, 3).
        """


def on_background(
    image: NDArray[np.uint8], background: tuple[int, int, int] = WHITE
) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
    """Put RGBA on a background; alpha below one half is background, above it is picture.

    Scanners write no half-transparent pixels: fractions come from OpenSlide's blending at the
    seams of levels whose downsample is no whole number, where fading to white would be wrong.

    Returns:
        RGB and where it was seen (None when everywhere).
    """
    seen = image[:, :, 3] >= 128
    colour = np.array(image[:, :, :3], order="C")  # of one pixel else still the given one
    if seen.all():
        return colour, None
    colour[~seen] = background
    return colour, seen


def words_of(fault: BaseException, file: object) -> str:
    """The fault's message on one line, without the file's path and name."""
    text = " ".join(str(fault).split())
    if isinstance(file, Path):
        for name in (str(file), str(file.parent), file.name):
            if len(name) > 1:
                text = text.replace(name, "the file")
    text = re.sub(r"^Reading [^:]*: ", "", text)
    text = text.replace("file the file", "the file")
    return text or type(fault).__name__
