"""One stain fit for a whole slide."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from histoscope.domains.pathology.stain_normalisation import Pixels, Unfit, Way, fit, normalise

TILES = 32
PIXELS_A_TILE = 16_384


class SlideStains:
    """Brings all tiles of a slide to the reference by one fit on pooled pixels.

    Args:
        way: how.
        tiles: some of the slide's, (height, width, 3).
    """

    def __init__(self, way: Way, tiles: Iterable[Pixels]) -> None:
        pooled = [_some(tile.reshape(-1, 3)) for tile in tiles]
        self._tiles = len(pooled)
        self._found = fit(way, np.concatenate(pooled)) if pooled else Unfit("no tile to fit")

    def __call__(self, tile: Pixels) -> Pixels:
        """A tile brought to the reference, or itself."""
        return normalise(tile, self._found)

    @property
    def left(self) -> bool:
        """Whether the slide stays as it is."""
        return isinstance(self._found, Unfit)

    @property
    def summary(self) -> str:
        """On how many tiles it was fitted, or why it was not."""
        if isinstance(self._found, Unfit):
            return f"left as it is: {self._found.reason}"
        return f"fitted on {self._tiles} tiles"


def spread(rows: int) -> NDArray[np.int64]:
    """Up to 32 rows, evenly spread."""
    return np.unique(np.linspace(0, rows - 1, min(rows, TILES)).round().astype(np.int64))


def _some(pixels: Pixels) -> Pixels:
    """Up to 16,384 pixels, evenly spread; a step of a row's length would see one column."""
    if len(pixels) <= PIXELS_A_TILE:
        return pixels
    return pixels[np.linspace(0, len(pixels) - 1, PIXELS_A_TILE).astype(np.int64)]
