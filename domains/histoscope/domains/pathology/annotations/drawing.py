"""One drawing of a person on a slide, whatever program it was drawn in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import shapely
from shapely.errors import ShapelyError


@dataclass(frozen=True)
class Drawing:
    """One annotation of a file.

    Attributes:
        number: its place in the file, from 1.
        name: as the person called it, may be empty.
        kind: its class, None where it has none.
        outline: polygon or several, level-0 px; None where nothing can be done with it.
        note: why not, or what was mended; empty when all is plain.
    """

    number: int
    name: str
    kind: str | None
    outline: Any
    note: str = ""


def polygons(found: Any, kind: str) -> tuple[Any, str]:
    """Polygons of a geometry, and what was mended; no polygon, and why not.

    Args:
        found: a geometry.
        kind: what its file calls it.
    """
    note = ""
    try:
        if not shapely.is_valid(found):
            note = f"mended: {shapely.is_valid_reason(found).partition('[')[0].lower()}"
            found = shapely.make_valid(found)
        parts = [
            one for one in shapely.get_parts(shapely.get_parts(found)) if one.geom_type == "Polygon"
        ]
        whole = shapely.union_all(parts)
    except ShapelyError as fault:
        return None, f"its geometry cannot be read ({' '.join(str(fault).split())[:80]})"
    if not 0 < whole.area < math.inf:
        return None, f"a {kind} has no area"
    return whole, note
