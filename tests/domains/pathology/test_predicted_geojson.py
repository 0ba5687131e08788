"""Predictions for QuPath: each tile where it lies, each class as one region of its true area."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import shapely
from shapely.geometry import shape

from histoscope.core.contracts import Answer, Results, Source, Task
from histoscope.domains.pathology.annotations.reading import read_drawings
from histoscope.domains.pathology.class_map import class_map
from histoscope.domains.pathology.drawings import render
from histoscope.domains.pathology.geojson import (
    rectangle,
    region_features,
    tile_features,
    write_features,
)
from tests.domains.pathology.test_drawings import COLOURS, PaintedReader, scores, tiles

TASK = Task("tissue", ("fat", "muscle", "gland"))
MPP = (0.5, 0.25)
CUTS = np.full(3, 0.5, np.float32)


def answer(probabilities: np.ndarray, *, exclusive: bool = True) -> Answer:
    task = Task("tissue", TASK.classes, exclusive=exclusive)
    return Answer(task, probabilities.astype(np.float32), COLOURS, CUTS)


def checker(side: int = 100, count: int = 6) -> tuple[pa.Table, list[int | None]]:
    """Tiles without gaps; classes in stripes, one tile unreadable."""
    places = [(x * side, y * side) for y in range(count) for x in range(count)]
    classes: list[int | None] = [(x // side + y // side // 2) % 3 for x, y in places]
    classes[7] = None
    status = ["lost" if one is None else "ok" for one in classes]
    return tiles(places, side, status), classes


def test_each_tile_lies_where_it_was_read_and_says_what_it_was_given():
    rows, classes = checker()
    ids = [f"s:{place}" for place in range(len(rows))]
    found = list(tile_features(rows, ids, answer(scores(classes)), (30, 20)))
    assert len(found) == len(rows)
    assert len({one["id"] for one in found}) == len(rows)
    x, y = (rows.column(f"{axis}_level0_px").to_pylist() for axis in "xy")
    for place, one in enumerate(found):
        outline, told = shape(one["geometry"]), one["properties"]
        assert outline.bounds == (
            *(x[place] - 30, y[place] - 20),
            *(x[place] + 70, y[place] + 80),
        )
        assert told["objectType"] == "tile"
        if classes[place] is None:
            assert told == {"objectType": "tile", "name": "lost"}
            continue
        kind = classes[place]
        colour = [255 * (channel == kind) for channel in range(3)]
        assert told["classification"] == {"name": TASK.classes[kind], "color": colour}
        wanted = {name: 0.8 if n == kind else 0.1 for n, name in enumerate(TASK.classes)}
        assert told["measurements"] == wanted


def test_a_tile_without_a_score_is_written_without_one():
    rows = tiles([(0, 0)], 100, ["ok"])
    (one,) = tile_features(rows, ["a"], answer(np.full((1, 3), np.nan)), (0, 0))
    assert one["properties"] == {"objectType": "tile", "measurements": {}}


def test_classes_that_may_hold_together_make_one_name():
    rows = tiles([(0, 0), (100, 0), (200, 0)], 100, ["ok"] * 3)
    told = answer(np.array([[0.9, 0.1, 0.7], [0.1, 0.2, 0.3], [0.1, 0.6, 0.2]]), exclusive=False)
    names = [
        one["properties"].get("classification", {}).get("name")
        for one in tile_features(rows, ["a", "b", "c"], told, (0, 0))
    ]
    assert names == ["fat: gland", None, "muscle"]


def test_regions_are_the_union_of_their_tiles_with_its_area():
    rows, classes = checker()
    told = answer(scores(classes))
    where = class_map(rows, told.probabilities, (16000, 8000))
    found = list(region_features(where, "s", told, MPP, (30, 20)))
    assert [one["properties"]["name"] for one in found] == list(TASK.classes)
    x, y = (rows.column(f"{axis}_level0_px").to_pylist() for axis in "xy")
    for number, one in enumerate(found):
        mine = [place for place, kind in enumerate(classes) if kind == number]
        known = shapely.union_all(
            [shapely.box(x[n] - 30, y[n] - 20, x[n] + 70, y[n] + 80) for n in mine]
        )
        outline, said = shape(one["geometry"]), one["properties"]
        assert shapely.is_valid(outline)
        assert outline.equals(known)
        assert said["objectType"] == "annotation"
        assert said["classification"]["name"] == TASK.classes[number]
        area = len(mine) * 100 * 100 * MPP[0] * MPP[1] / 1e6
        assert said["measurements"]["Area mm2"] == round(area, 6)


def test_regions_come_back_as_drawings(tmp_path: Path):
    rows, classes = checker()
    told = answer(scores(classes))
    where = class_map(rows, told.probabilities, (16000, 8000))
    write_features(tmp_path / "a.geojson", region_features(where, "s", told, MPP, (30, 20)))
    found = read_drawings(tmp_path / "a.geojson", (30, 20))
    assert [one.kind for one in found] == list(TASK.classes)
    areas = [one.outline.area for one in found]
    np.testing.assert_allclose(areas, where.areas_px()[:3])


def test_a_class_that_is_nowhere_has_no_region():
    rows = tiles([(0, 0)], 100, ["ok"])
    told = answer(scores([2]))
    where = class_map(rows, told.probabilities, (16000, 8000))
    assert [
        one["properties"]["name"] for one in region_features(where, "s", told, MPP, (0, 0))
    ] == ["gland"]


def test_files_of_a_slide_are_written_beside_its_pictures(tmp_path: Path):
    reader = PaintedReader()
    reader.facts = {**reader.facts, "bounds_x_level0_px": 30, "bounds_y_level0_px": 20}
    rows, classes = checker()
    results = Results(Source("0" * 16, "a.tif"), rows, [answer(scores(classes))])
    corners = {}
    for coordinates in ("qupath", "level0"):
        out = tmp_path / coordinates
        rendering = render(reader, results, coordinates, out)  # type: ignore[arg-type]
        objects = [one for one in rendering.artefacts if one.kind == "data"]
        assert [one.file for one in objects] == ["regions.geojson", "tiles.geojson"]
        bodies = {one.file: json.loads((out / one.file).read_text()) for one in objects}
        assert {body["type"] for body in bodies.values()} == {"FeatureCollection"}
        ids = [one["id"] for body in bodies.values() for one in body["features"]]
        assert len(set(ids)) == len(ids) == len(rows) + 3
        corners[coordinates] = shape(bodies["tiles.geojson"]["features"][0]["geometry"]).bounds[:2]
        before = {path.name: path.read_bytes() for path in out.iterdir()}
        render(reader, results, coordinates, out)  # type: ignore[arg-type]
        assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert corners == {"qupath": (-30, -20), "level0": (0, 0)}


def test_many_tiles_take_no_memory(tmp_path: Path):
    side, count = 100, 60_000
    places = [(side * (n % 300), side * (n // 300)) for n in range(count)]
    rows, ids = tiles(places, side, ["ok"] * count), [f"s:{n}" for n in range(count)]
    told = answer(np.tile(np.array([[0.8, 0.1, 0.1]], np.float32), (count, 1)))
    tracemalloc.start()
    write_features(tmp_path / "a.geojson", tile_features(rows, ids, told, (0, 0)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    size = (tmp_path / "a.geojson").stat().st_size
    assert size > 15e6
    assert peak < size / 2
    with (tmp_path / "a.geojson").open() as file:
        assert sum(1 for _ in file) == count + 2


def test_an_empty_file_is_a_collection_too(tmp_path: Path):
    write_features(tmp_path / "a.geojson", [])
    assert json.loads((tmp_path / "a.geojson").read_text())["features"] == []
    assert shape(rectangle(1, 2, 3, 4)).bounds == (1, 2, 4, 6)
