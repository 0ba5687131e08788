"""Tiles as annotations that QuPath opens."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from histoscope.core.contracts import Artefact, Scalar, Source
from histoscope.core.files import write_text
from histoscope.domains.pathology.options import Coordinates
from histoscope.domains.pathology.tiling import PLACE, has_places

_FEATURES = uuid.UUID("6f2d2f0e-0c0e-5b5e-9a53-6f3b1d1c7a10")  # ids are made from sample ids in it


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
    features = [_feature(row, offset, coordinates) for row in rows.to_pylist()]
    name = f"{source.path}.geojson"
    if (out / name).exists():  # below another root
        name = f"{source.path}.{source.id}.geojson"
    body = {"type": "FeatureCollection", "features": features}
    write_text(out / name, json.dumps(body, ensure_ascii=False, allow_nan=False) + "\n")
    return [Artefact(name, "data", "Suggested tiles, as annotations of QuPath")]


def _feature(
    row: Mapping[str, Any], offset: tuple[int, int], coordinates: Coordinates
) -> dict[str, Any]:
    x, y, width, height = (float(row[name]) for name in PLACE)
    left, top = x - offset[0], y - offset[1]
    right, bottom = left + width, top + height
    ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(_FEATURES, row["id"])),
        "geometry": {"type": "Polygon", "coordinates": [ring]},
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
