"""Tiles around one, as far as a store holds them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from histoscope.core.contracts import Neighbour
from histoscope.domains.pathology.class_map import PLACE, has_places


def around(rows: pa.Table, place: int) -> Sequence[Neighbour]:
    """Tiles of the same slide that begin less than two sides away; none in a labelled set.

    Args:
        rows: all tiles of one slide, with their place.
        place: row of the tile.
    """
    if not has_places(rows):
        return ()
    x, y, width, height = (
        rows.column(name).to_numpy(zero_copy_only=False).astype(np.float64) for name in PLACE
    )
    right, down = (x - x[place]) / width[place], (y - y[place]) / height[place]
    near = (np.abs(right) < 2) & (np.abs(down) < 2)
    near[place] = False
    return [Neighbour(int(n), float(right[n]), float(down[n])) for n in np.flatnonzero(near)]
