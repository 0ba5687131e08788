"""Annotations of ASAP (XML): read leniently, nothing lost.

A file holds annotations, each of a group, which is its class. Pixels are those of level 0. ASAP
itself drops all of a file in which an annotation names a group that the file does not list; here it
counts, as the name says enough.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import shapely
from numpy.typing import NDArray

from histoscope.core.errors import DataError
from histoscope.domains.pathology.annotations.drawing import Drawing, polygons

ROOT = "ASAP_Annotations"
NO_GROUP = ("", "None")  # as ASAP writes what is in none
AREAS = ("Polygon", "Rectangle", "Spline")  # types that hold an area; others are points and lines
STEPS = 16  # straight pieces of a spline from one point to the next

Points = NDArray[np.float64]


def read_asap(path: Path) -> list[Drawing]:
    """All annotations of a file, level-0 px.

    Raises:
        DataError: not readable, or not ASAP's.
    """
    root = _root_of(path)
    if root.tag != ROOT:
        raise DataError(
            f"{path.name}: an XML of {root.tag}, not {ROOT}; QuPath may open and export it"
        )
    groups = {one.get("Name", "") for one in root.iterfind("AnnotationGroups/Group")}
    found = root.iterfind("Annotations/Annotation")
    return [_drawing(number, one, groups) for number, one in enumerate(found, 1)]


def groups_in(path: Path) -> set[str]:
    """Groups that annotations of a file are in; raises as :func:`read_asap`."""
    found = _root_of(path).iterfind("Annotations/Annotation")
    return {group for one in found if (group := _group_of(one)) is not None}


def is_asap(path: Path) -> bool:
    """Whether a file begins as ASAP's, or cannot be read, which reading it says."""
    try:
        for _, element in ElementTree.iterparse(path, ("start",)):  # noqa: S314 - as above
            return str(element.tag) == ROOT
    except (OSError, ElementTree.ParseError, ValueError, LookupError):
        return True
    return True


def _root_of(path: Path) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(path.read_bytes())  # noqa: S314 - expat bounds entities
    except OSError as fault:
        raise DataError(f"{path.name}: {fault.strerror or fault}") from None
    except (ElementTree.ParseError, ValueError, LookupError) as fault:
        raise DataError(f"{path.name}: not XML ({fault})") from None


def _drawing(number: int, told: ElementTree.Element, groups: set[str]) -> Drawing:
    name, kind = told.get("Name", "").strip(), _group_of(told)
    outline, note = _outline(told)
    lost = "" if kind is None or kind in groups else f"group {kind!r} is not listed in the file"
    return Drawing(number, name, kind, outline, "; ".join(filter(None, [note, lost])))


def _group_of(told: ElementTree.Element) -> str | None:
    group = told.get("PartOfGroup", "").strip()
    return None if group in NO_GROUP else group


def _outline(told: ElementTree.Element) -> tuple[Any, str]:
    """Its polygon, and what was mended; none, and why not."""
    kind = told.get("Type", "")
    if kind not in AREAS:
        return None, f"a {kind or 'drawing without a type'} has no area"
    try:
        points = _points(told.findall("Coordinates/Coordinate"))
    except (KeyError, ValueError) as fault:
        return None, f"its points cannot be read ({fault})"
    if kind == "Rectangle" and len(points) == 2:
        return polygons(shapely.box(*points.min(axis=0), *points.max(axis=0)), kind)
    if len(points) < 3:
        return None, f"a {kind} of {len(points)} points has no area"
    with np.errstate(all="ignore"):  # what is not finite is refused
        corners = spline(points) if kind == "Spline" else points
    if not np.isfinite(corners).all():
        return None, "its points cannot be read (they lie too near each other, or too far)"
    return polygons(shapely.Polygon(corners), kind)


def _points(found: Sequence[ElementTree.Element]) -> Points:
    """Points in their order, or in the file's where one has none, (points, 2).

    Without those that stand where the last one does.
    """
    ordered = list(found)
    if all(one.get("Order", "").isdecimal() for one in found):
        ordered.sort(key=lambda one: int(one.attrib["Order"]))
    points = [(float(one.attrib["X"]), float(one.attrib["Y"])) for one in ordered]
    if not all(math.isfinite(value) for point in points for value in point):
        raise ValueError("a coordinate is not finite")
    kept = [one for place, one in enumerate(points) if not place or one != points[place - 1]]
    if len(kept) > 1 and kept[0] == kept[-1]:
        kept.pop()
    return np.array(kept, np.float64).reshape(-1, 2)


def spline(points: Points, steps: int = STEPS) -> Points:
    """The closed curve that ASAP draws through points: a centripetal Catmull-Rom spline.

    What ASAP shows while a person draws, and not the straight lines of its own masks. Source: Barry
    and Goldman 1988, with knots by the square root of the distance (Yuksel et al. 2011).

    Args:
        points: at least 3, no two neighbours the same, (points, 2).
        steps: places on each piece.
    """
    p0, p1, p2, p3 = (np.roll(points, shift, axis=0)[:, None] for shift in (1, 0, -1, -2))
    t0 = np.zeros((len(points), 1, 1))
    t1 = t0 + _root(p1 - p0)
    t2 = t1 + _root(p2 - p1)
    t3 = t2 + _root(p3 - p2)
    t = t1 + (t2 - t1) * (np.arange(steps) / steps)[:, None]
    a1 = ((t1 - t) * p0 + (t - t0) * p1) / (t1 - t0)
    a2 = ((t2 - t) * p1 + (t - t1) * p2) / (t2 - t1)
    a3 = ((t3 - t) * p2 + (t - t2) * p3) / (t3 - t2)
    b1 = ((t2 - t) * a1 + (t - t0) * a2) / (t2 - t0)
    b2 = ((t3 - t) * a2 + (t - t1) * a3) / (t3 - t1)
    curve = ((t2 - t) * b1 + (t - t1) * b2) / (t2 - t1)
    return np.asarray(curve.reshape(-1, 2))


def _root(way: Points) -> Points:
    return np.asarray(np.sqrt(np.linalg.norm(way, axis=2, keepdims=True)))
