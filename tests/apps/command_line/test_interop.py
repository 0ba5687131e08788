"""Files for other tools, field by field, as QuPath, TRIDENT and CLAM have them.

QuPath 0.4 to 0.7: its reader of GeoJSON, in short. An object of a class without a colour raises
there, as do a ring that is open and a bare NaN. TRIDENT 0.3 and CLAM: names, types and shapes of
datasets and attributes that they write themselves, and what of these their readers take.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile

from tests.apps.command_line.road import HERE, Answer, Road, paint, write_slide

KINDS = {"annotation", "detection", "tile", "cell", "tmaCore", "root"}
KNOWN = {"objectType", "name", "color", "classification", "isLocked", "measurements", "metadata"}
BY_TRIDENT = {  # of coords: name, type
    **{"patch_size": int, "patch_size_level0": float, "overlap": int, "name": str},
    **{"level0_magnification": float, "target_magnification": float, "savetodir": str},
    **{"level0_width": int, "level0_height": int},
}
BY_CLAM = {  # of coords in a file of patches
    **{"patch_size": int, "patch_level": int, "downsample": np.ndarray, "name": str},
    **{"downsampled_level_dim": np.ndarray, "level_dim": np.ndarray, "save_path": str},
}


def refuse(word: str) -> float:
    raise AssertionError(f"{word} is no JSON")


def read_as_qupath(path: Path) -> list[Mapping[str, Any]]:
    """Objects of a file, or an assertion that says what QuPath would stumble over."""
    told = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    assert set(told) == {"type", "features"}
    assert told["type"] == "FeatureCollection"
    for one in told["features"]:
        assert set(one) == {"type", "id", "geometry", "properties"}
        assert one["type"] == "Feature"
        assert str(uuid.UUID(one["id"])) == one["id"]
        check_geometry(one["geometry"])
        check_properties(one["properties"])
    ids = [one["id"] for one in told["features"]]
    assert len(set(ids)) == len(ids)
    return list(told["features"])


def check_geometry(geometry: Mapping[str, Any]) -> None:
    assert set(geometry) == {"type", "coordinates"}
    assert geometry["type"] in ("Polygon", "MultiPolygon")
    several = geometry["type"] == "MultiPolygon"
    for polygon in geometry["coordinates"] if several else [geometry["coordinates"]]:
        for ring in polygon:
            assert len(ring) >= 4
            assert ring[0] == ring[-1]
            assert all(len(place) == 2 for place in ring)
            assert all(isinstance(value, int | float) for place in ring for value in place)


def check_properties(told: Mapping[str, Any]) -> None:
    assert set(told) <= KNOWN
    assert told["objectType"] in KINDS
    if kind := told.get("classification"):
        assert set(kind) == {"name", "color"}
        assert len(kind["color"]) == 3
        assert all(type(part) is int and 0 <= part <= 255 for part in kind["color"])
    assert type(told.get("isLocked", True)) is bool
    for name, value in told.get("measurements", {}).items():
        assert isinstance(name, str)
        assert isinstance(value, int | float)


@pytest.fixture
def slides(tmp_path: Path) -> Path:
    """A slide of two tissues on glass, at 0.5 um per pixel."""
    pixels = np.full((256, 256, 3), 245, np.uint8)
    pixels[32:224, 32:128] = paint("tumour", 192, 1)[:, :96]
    pixels[32:224, 128:224] = paint("stroma", 192, 2)[:, :96]
    (tmp_path / "slides").mkdir()
    write_slide(tmp_path / "slides" / "a.tif", pixels)
    return tmp_path / "slides"


def test_predictions_open_in_qupath(
    road: Road, call: Callable[..., Answer], slides: Path, tmp_path: Path
):
    by = ("--package", road.package, "--out", tmp_path / "out", *HERE)
    assert call("predict", slides, *by, "--uncertain-below", 0.6).code == 0
    (folder,) = (tmp_path / "out" / "results").iterdir()
    tiles = read_as_qupath(folder / "tiles.geojson")
    classes = {"stroma", "tumour", "uncertain"}
    assert {one["properties"]["objectType"] for one in tiles} == {"tile"}
    assert {one["properties"]["classification"]["name"] for one in tiles} <= classes
    assert {tuple(one["properties"]["measurements"]) for one in tiles} == {("stroma", "tumour")}
    regions = read_as_qupath(folder / "regions.geojson")
    assert {one["properties"]["objectType"] for one in regions} == {"annotation"}
    assert {one["properties"]["name"] for one in regions} <= classes
    ids = {one["id"] for one in (*tiles, *regions)}
    assert len(ids) == len(tiles) + len(regions)  # both files open in one project


def test_outlines_of_tissue_open_in_qupath_and_can_be_moved(
    call: Callable[..., Answer], slides: Path, tmp_path: Path
):
    cut = ("--size-px", 32, "--tile-mpp", 0.5, "--out", tmp_path / "tissue")
    assert call("tissue", slides, *cut).code == 0
    (one,) = read_as_qupath(tmp_path / "tissue" / "outlines" / "a.tif.geojson")
    assert one["properties"]["classification"]["name"] == "Tissue"
    assert one["properties"]["isLocked"] is False


def test_a_reader_this_strict_refuses_what_qupath_would(tmp_path: Path):
    for wrong in (
        '{"type": "FeatureCollection", "features": [NaN]}',
        '{"type": "FeatureCollection", "features": [{"type": "Feature", "id": '
        '"8c6f3a30-0d5c-5f0e-9a44-f52ab1b8a1ab", "geometry": {"type": "Polygon", "coordinates": '
        '[[[0, 0], [1, 0], [1, 1], [0, 0]]]}, "properties": {"objectType": "tile", '
        '"classification": {"name": "fat"}}}]}',
    ):
        (tmp_path / "wrong.geojson").write_text(wrong)
        with pytest.raises(AssertionError):
            read_as_qupath(tmp_path / "wrong.geojson")


def check_attributes(told: h5py.AttributeManager, wanted: Mapping[str, type]) -> None:
    for name, kind in wanted.items():
        value = told[name]
        whole = isinstance(value, np.integer)
        if kind is int:
            assert whole, f"{name}: {value!r}"
        elif kind is float:
            assert whole or isinstance(value, np.floating), f"{name}: {value!r}"
        else:
            assert isinstance(value, kind), f"{name}: {value!r}"


def test_features_have_every_field_that_trident_and_clam_write(
    road: Road, call: Callable[..., Answer], slides: Path, tmp_path: Path
):
    by = ("--package", road.package, *HERE)
    for layout in ("clam", "trident"):
        there = ("--layout", layout, "--out", tmp_path / layout)
        assert call("embed", slides, *by, *there).code == 0
    (trident,) = (tmp_path / "trident").glob("*overlap/features_*/a.h5")
    with h5py.File(trident) as file:
        check_attributes(file["coords"].attrs, BY_TRIDENT)
        check_attributes(file["features"].attrs, {"name": str, "savetodir": str, "encoder": str})
        assert (file["features"].dtype, file["coords"].dtype) == (np.float32, np.int64)
        of_trident = file["coords"][:]
        said = file["coords"].attrs
        span = said["patch_size"] * said["level0_magnification"] / said["target_magnification"]
        assert said["patch_size_level0"] == pytest.approx(span, rel=0.02)
    with h5py.File(tmp_path / "clam" / "h5_files" / "a.h5") as file:
        check_attributes(file["coords"].attrs, BY_CLAM)
        assert (file["features"].dtype, file["coords"].dtype) == (np.float32, np.int32)
        assert (file["coords"][:] == of_trident).all()
        said = file["coords"].attrs
        with tifffile.TiffFile(slides / "a.tif") as slide:
            assert said["level_dim"].tolist() == list(slide.pages[0].shape[1::-1])
        assert said["patch_size"] * said["downsample"][0] == 32
