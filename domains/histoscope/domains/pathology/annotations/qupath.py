"""Annotations of QuPath (GeoJSON, 0.2 to 0.7): read leniently, nothing lost, and tiles written so.

A file is a FeatureCollection, a bare array or one feature. A feature without ``objectType`` is an
annotation; its ``classification`` is a text or an object with ``name`` or ``names``.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import shapely
from shapely.errors import ShapelyError
from shapely.geometry import shape

from histoscope.core.contracts import Artefact, Scalar, Source
from histoscope.core.errors import DataError
from histoscope.domains.pathology.annotations.drawing import Drawing, polygons
from histoscope.domains.pathology.geojson import FEATURES, Feature, rectangle, write_features
from histoscope.domains.pathology.options import Coordinates
from histoscope.domains.pathology.tiling import PLACE, has_places

KIND_KEYS = ("objectType", "object_type", "type")


def read_qupath(path: Path, offset: tuple[int, int] = (0, 0)) -> list[Drawing]:
    """All features of a file, usable or not.

    Args:
        path: a GeoJSON file.
        offset: added to its coordinates to get level-0 px, x and y.

    Raises:
        DataError: not readable, or no GeoJSON.
    """
    return [_drawing(number, one, offset) for number, one in enumerate(_read(path), 1)]


def classes_of(path: Path) -> set[str]:
    """Classes of all features of a file, as they are written; raises as :func:`read_qupath`."""
    kinds = (_class_of(_properties(one).get("classification")) for one in _read(path))
    return set(filter(None, kinds))


def _read(path: Path) -> list[Mapping[str, Any]]:
    try:
        body = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as fault:
        raise DataError(f"{path.name}: {fault.strerror or fault}") from None
    except (ValueError, RecursionError) as fault:
        raise DataError(f"{path.name}: not JSON ({fault})") from None
    found = list(_features(body))
    if not found and body != [] and not (isinstance(body, dict) and "features" in body):
        raise DataError(f"{path.name}: no GeoJSON features in it")
    return found


def _features(body: Any) -> Iterator[Mapping[str, Any]]:
    """Features of a collection, an array or alone, and those that stand inside others."""
    if isinstance(body, list):
        for one in body:
            yield from _features(one)
    elif isinstance(body, dict) and isinstance(body.get("features"), list):
        yield from _features(body["features"])
    elif isinstance(body, dict) and ("geometry" in body or body.get("type") == "Feature"):
        yield body
        yield from _features(_properties(body).get("childObjects"))


def _properties(feature: Mapping[str, Any]) -> Mapping[str, Any]:
    found = feature.get("properties")
    return found if isinstance(found, dict) else {}


def _drawing(number: int, feature: Mapping[str, Any], offset: tuple[int, int]) -> Drawing:
    properties = _properties(feature)
    name, kind = str(properties.get("name") or ""), _class_of(properties.get("classification"))
    told = next((properties[key] for key in KIND_KEYS if properties.get(key)), "annotation")
    if str(told).lower() != "annotation":
        return Drawing(number, name, kind, None, f"a {told}, not an annotation")
    outline, note = _outline(feature.get("geometry"))
    if outline is not None:
        outline = shapely.transform(outline, lambda places: places + offset)
    return Drawing(number, name, kind, outline, note)


def _class_of(told: Any) -> str | None:
    """``"Tumor"``, ``{"name": "Tumor"}``, or ``{"names": ["Tumor", "Positive"]}`` joined."""
    if isinstance(told, dict):
        names = told.get("names")
        told = ": ".join(map(str, names)) if isinstance(names, list) and names else told.get("name")
    return (str(told).strip() or None) if told else None


def _outline(geometry: Any) -> tuple[Any, str]:
    """Polygons of a geometry, and what was mended; no polygon, and why not."""
    if not isinstance(geometry, dict):
        return None, "has no geometry"
    try:
        found = shapely.force_2d(shape(geometry))
    except (ShapelyError, ValueError, TypeError, KeyError, AttributeError, IndexError) as fault:
        return None, f"its geometry cannot be read ({' '.join(str(fault).split())[:80]})"
    return polygons(found, str(geometry.get("type")))


def bounds_offset(facts: Mapping[str, Scalar], coordinates: Coordinates) -> tuple[int, int]:
    """What is taken from level-0 pixels to get those of the annotations, x and y.

    QuPath crops a slide to its scanned bounds unless it was opened with ``--no-crop``.

    Args:
        facts: of the slide's reader.
        coordinates: which are wanted.
    """
    if coordinates == "level0":
        return 0, 0
    x, y = facts.get("bounds_x_level0_px"), facts.get("bounds_y_level0_px")
    return int(x or 0), int(y or 0)


def write_annotations(
    source: Source,
    facts: Mapping[str, Scalar],
    rows: pa.Table,
    coordinates: Coordinates,
    out: Path,
) -> Sequence[Artefact]:
    """Write ``PATH.geojson`` after the slide's path below its root: one annotation a tile.

    Without a class and unlocked, so that one can be given and exported again.

    Args:
        source: the slide.
        facts: of its reader; its bounds are taken off in QuPath's coordinates.
        rows: places, ``id`` and ``name`` of tiles.
        coordinates: whose pixels are written.
        out: folder of the file.
    """
    if not has_places(rows):
        return ()
    offset = bounds_offset(facts, coordinates)
    name = f"{source.path}.geojson"
    if (out / name).exists():  # below another root
        name = f"{source.path}.{source.id}.geojson"
    write_features(out / name, (_feature(row, offset, coordinates) for row in rows.to_pylist()))
    return [Artefact(name, "data", "Suggested tiles, as annotations of QuPath")]


def _feature(row: Mapping[str, Any], offset: tuple[int, int], coordinates: Coordinates) -> Feature:
    x, y, width, height = (float(row[name]) for name in PLACE)
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(FEATURES, row["id"])),
        "geometry": rectangle(x - offset[0], y - offset[1], width, height),
        "properties": {
            "objectType": "annotation",
            "name": row["name"],
            "isLocked": False,
            "metadata": {
                "sample": row["id"],
                "coordinates": coordinates,
                "offset_x_level0_px": str(offset[0]),
                "offset_y_level0_px": str(offset[1]),
            },
        },
    }
