"""What drawings say of tiles: the class that covers half of one or more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from histoscope.domains.pathology.annotations.qupath import Drawing
from histoscope.domains.pathology.tiling import places_of

LEAST = 0.5  # of a tile's area
_ROUNDING = 1e-9


@dataclass(frozen=True)
class TileClasses:
    """Classes of tiles.

    Attributes:
        classes: of each tile, None where no class covers half of it, or two cover equal parts.
        gained: of each drawing: tiles of its class that it covers most of.
    """

    classes: list[str | None]
    gained: list[int]


def boxes_of(rows: pa.Table) -> NDArray[Any]:
    """Tiles as rectangles, level-0 px."""
    x, y, width, height = places_of(rows)
    return np.asarray(shapely.box(x, y, x + width, y + height))


def classes_of(
    boxes: NDArray[Any], drawings: Sequence[Drawing], rest_is: str | None = None
) -> TileClasses:
    """The class of each tile.

    Args:
        boxes: tiles.
        drawings: of one slide; those without a class only keep the rest away.
        rest_is: class of what nobody has drawn on; None: unknown.
    """
    usable = [place for place, one in enumerate(drawings) if one.outline is not None]
    parts = {place: covered(boxes, drawings[place].outline) for place in usable}
    outlines = dict[str, list[Any]]()
    for place in usable:
        if drawings[place].kind is not None:
            outlines.setdefault(str(drawings[place].kind), []).append(drawings[place].outline)
    shares = {
        kind: covered(boxes, shapely.union_all(several)) for kind, several in outlines.items()
    }
    if rest_is is not None:
        drawn = shapely.union_all([drawings[place].outline for place in usable])
        rest = 1 - covered(boxes, drawn)
        shares[rest_is] = shares.get(rest_is, np.zeros(len(boxes))) + rest
    classes = _largest(shares, len(boxes))
    gained = np.zeros(len(drawings), np.int64)
    for kind in outlines:
        own = [place for place in usable if drawings[place].kind == kind]
        most = np.stack([parts[place] for place in own])
        tiles = [tile for tile, name in enumerate(classes) if name == kind]
        for tile in tiles:
            if most[:, tile].any():  # else it is of the rest
                gained[own[int(most[:, tile].argmax())]] += 1
    return TileClasses(classes, gained.tolist())


def covered(boxes: NDArray[Any], outline: Any) -> NDArray[np.float64]:
    """Part of each tile that an outline covers, 0 to 1."""
    out = np.zeros(len(boxes))
    if not len(boxes) or shapely.is_empty(outline):
        return out
    shapely.prepare(outline)
    inside = shapely.contains(outline, boxes)
    edge = shapely.intersects(outline, boxes) & ~inside
    out[inside] = 1.0
    out[edge] = shapely.area(shapely.intersection(boxes[edge], outline)) / shapely.area(boxes[edge])
    return out


def _largest(shares: Mapping[str, NDArray[np.float64]], count: int) -> list[str | None]:
    if not shares:
        return [None] * count
    names, table = list(shares), np.stack(list(shares.values()))
    best = table.max(axis=0)
    alone = (table >= best - _ROUNDING).sum(axis=0) == 1
    good = alone & (best >= LEAST - _ROUNDING)
    return [
        names[place] if told else None
        for place, told in zip(table.argmax(axis=0).tolist(), good.tolist(), strict=True)
    ]
