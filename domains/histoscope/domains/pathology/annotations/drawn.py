"""What was drawn on one slide: labels of its tiles, and tiles for drawings between tiles.

A tile is of the class that covers half of it or more. Where a drawing lies in one of another class,
as a tumour in its tissue, the inner one counts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from histoscope.core.contracts import Plan, PlanLabels
from histoscope.domains.pathology.annotations.drawing import Drawing
from histoscope.domains.pathology.tiling import PLACE, Box, Grid, places_of

LEAST = 0.5  # of a tile's area
INSIDE = 0.99  # of a drawing's area, from which on it lies in another: hands are not exact
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
    own = dict[str, list[int]]()
    for place in usable:
        if (kind := drawings[place].kind) is not None:
            own.setdefault(kind, []).append(place)
    outlines = innermost(drawings)
    whole = [one.outline for one in drawings if one.outline is not None]
    shares = {
        kind: covered(boxes, shapely.union_all([outlines[place] for place in places]))
        for kind, places in own.items()
    }
    if rest_is is not None:
        rest = 1 - covered(boxes, shapely.union_all(whole))
        shares[rest_is] = shares.get(rest_is, np.zeros(len(boxes))) + rest
    classes = _largest(shares, len(boxes))
    gained = [0] * len(drawings)
    for kind, places in own.items():
        parts = np.stack([covered(boxes, outlines[place]) for place in places])
        for tile, name in enumerate(classes):
            if name == kind and parts[:, tile].any():  # else it is of the rest
                gained[places[int(parts[:, tile].argmax())]] += 1
    return TileClasses(classes, gained)


def innermost(drawings: Sequence[Drawing]) -> dict[int, Any]:
    """Outlines by place, each without what drawings of another class that lie in it cover.

    A drawing without a class takes nothing from the one that it lies in.
    """
    outlines = {n: one.outline for n, one in enumerate(drawings) if one.outline is not None}
    places, shapes = list(outlines), np.array(list(outlines.values()), object)
    areas, inner = shapely.area(shapes), dict[int, list[Any]]()
    pairs = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    for small, large in zip(*pairs.tolist(), strict=True):
        ours, theirs = drawings[places[small]].kind, drawings[places[large]].kind
        if ours is None or ours == theirs or areas[small] >= areas[large]:
            continue
        if shapely.intersection(shapes[small], shapes[large]).area >= INSIDE * areas[small]:
            inner.setdefault(places[large], []).append(shapes[small])
    cut = {
        n: shapely.difference(outlines[n], shapely.union_all(those)) for n, those in inner.items()
    }
    return {**outlines, **cut}


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


@dataclass(frozen=True)
class Drawn:
    """Drawings of one slide.

    Attributes:
        drawings: in level-0 px.
        task: name of the label table.
        rest_is: class of what nobody drew on; None: unknown.
    """

    drawings: Sequence[Drawing]
    task: str
    rest_is: str | None = None

    def extra_tiles(self, rows: pa.Table, tiles: Grid, limit: Box) -> Grid:
        """A tile in the middle of each drawing that no tile is labelled by, where it covers half.

        Args:
            rows: the tiles there are.
            tiles: what a tile spans.
            limit: where tiles may lie.
        """
        gained = classes_of(boxes_of(rows), self.drawings, self.rest_is).gained
        span = tiles.width_level0_px, tiles.height_level0_px
        corners = (rows.column(name).to_pylist() for name in PLACE[:2])
        places = dict.fromkeys(zip(*corners, strict=True))
        known = set(places)
        for drawing, count in zip(self.drawings, gained, strict=True):
            if count or drawing.outline is None or drawing.kind is None:
                continue
            corner = _corner(drawing.outline, span, limit)
            if corner is None:
                continue
            box = shapely.box(*corner, corner[0] + span[0], corner[1] + span[1])
            if covered(np.array([box]), drawing.outline)[0] >= LEAST:
                places[corner] = None
        extra = [place for place in places if place not in known]
        x, y = np.array(extra, np.int64).reshape(-1, 2).T
        return Grid(x, y, *span)

    def labelled(self, rows: pa.Table, plan: Plan) -> Plan:
        """The plan of these rows, with their labels and what gave none.

        Args:
            rows: all tiles.
            plan: of those on the grid.
        """
        found = classes_of(boxes_of(rows), self.drawings, self.rest_is)
        reasons = [plan.reason] if not len(rows) else []
        reasons.append(self._what_they_gave(found))
        labels = {}
        if self.rest_is or any(one.kind for one in self.drawings):
            labels = {self.task: PlanLabels(pa.array(found.classes, pa.string()))}
        return Plan(rows, labels, "; ".join(filter(None, reasons)))

    def _what_they_gave(self, found: TileClasses) -> str:
        """Tiles of each class that annotations label, and how many annotations label none."""
        tiles, useless = Counter[str](), 0
        for drawing, count in zip(self.drawings, found.gained, strict=True):
            useless += not count
            if count and drawing.kind:
                tiles[drawing.kind] += count
        given = ", ".join(f"{kind} {count}" for kind, count in sorted(tiles.items()))
        none = f"{useless} of {len(self.drawings)} annotations gave no tile" if useless else ""
        return "; ".join(filter(None, [f"annotated tiles: {given}" if given else "", none]))


def _corner(outline: Any, span: tuple[float, float], limit: Box) -> tuple[int, int] | None:
    """Upper left corner of a tile in the middle of the largest part, moved inside the limit."""
    largest = max(shapely.get_parts(outline), key=shapely.area)
    middle = shapely.centroid(largest)
    if not shapely.contains(largest, middle):
        middle = shapely.point_on_surface(largest)
    corner = []
    for at, side, first, extent in (
        (middle.x, span[0], limit.x, limit.width),
        (middle.y, span[1], limit.y, limit.height),
    ):
        if side > extent:
            return None
        corner.append(math.floor(min(max(at - side / 2, first), first + extent - side)))
    return corner[0], corner[1]
