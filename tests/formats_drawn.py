"""Drawings on slides, as other programs write them."""

from __future__ import annotations

import json
from pathlib import Path

from tests.domains.pathology.asap_files import annotation
from tests.domains.pathology.asap_files import write as write_asap


def write_drawings(given: Path) -> None:
    """What somebody drew on slides, and on one that is not there."""
    ring = [[0, 0], [200, 0], [200, 100], [0, 100], [0, 0]]
    drawn = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"name": "large", "classification": "dark"},
    }
    body = {"type": "FeatureCollection", "features": [drawn]}
    for name in ("aperio.geojson", "lost.geojson"):
        (given / name).write_text(json.dumps(body))
    write_asap(given / "oblong.xml", annotation())
