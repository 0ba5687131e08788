"""What was drawn on one slide: labels of its tiles, and tiles for drawings between tiles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely

from histoscope.core.contracts import Plan, PlanLabels
from histoscope.domains.pathology.annotations.areas import LEAST, boxes_of, classes_of, covered
from histoscope.domains.pathology.annotations.qupath import Drawing, read_drawings
from histoscope.domains.pathology.tiling import Box, Grid


def read_drawn(
    files: Sequence[Path], offset: tuple[int, int], names: Mapping[str, str]
) -> list[Drawing]:
    """Drawings of all files of one slide.

    Args:
        files: of the slide.
        offset: added to their coordinates to get level-0 px.
        names: what classes are called here, where another name is wanted.

    Raises:
        DataError: a file cannot be read.
    """
    found = [one for path in files for one in read_drawings(path, offset)]
    return [replace(one, kind=names.get(one.kind or "", one.kind)) for one in found]


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
        places = dict.fromkeys(zip(*_corners(rows), strict=True))
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
        useless = sum(not count for count in found.gained)
        reasons = [plan.reason] if not len(rows) else []
        if useless:
            reasons.append(f"{useless} of {len(self.drawings)} annotations gave no tile")
        labels = {}
        if self.rest_is or any(one.kind for one in self.drawings):
            labels = {self.task: PlanLabels(pa.array(found.classes, pa.string()))}
        return Plan(rows, labels, "; ".join(filter(None, reasons)))


def _corners(rows: pa.Table) -> tuple[list[int], list[int]]:
    return rows.column("x_level0_px").to_pylist(), rows.column("y_level0_px").to_pylist()


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
