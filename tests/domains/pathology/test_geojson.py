"""Suggested tiles as QuPath annotations, and tiles around one."""

import json

import pyarrow as pa
import pytest

from histoscope.core.contracts import Source
from histoscope.core.errors import DataError
from histoscope.domains.pathology import DOMAIN
from histoscope.domains.pathology.options import ReadOptions, RelationOptions, SuggestOptions

NAMES = ("row", "other", "kind")
SLIDE = Source("0123456789abcdef", "ward/a b.svs", kind="slide")


def rows(places, size=(100.0, 50.0)):
    x, y = zip(*places, strict=True)
    return pa.table(
        {
            "x_level0_px": pa.array(x, pa.int64()),
            "y_level0_px": pa.array(y, pa.int64()),
            "width_level0_px": pa.array([size[0]] * len(x), pa.float64()),
            "height_level0_px": pa.array([size[1]] * len(x), pa.float64()),
            "id": [f"{SLIDE.id}:{left}-{top}" for left, top in places],
            "name": [f"suggested {n}" for n in range(len(x))],
        }
    )


def written(folder, coordinates, facts):
    options = SuggestOptions(coordinates=coordinates)
    (artefact,) = DOMAIN.point_out(SLIDE, facts, rows([(300, 200)]), options, folder)
    return json.loads((folder / artefact.file).read_text())


@pytest.mark.parametrize(
    ("coordinates", "corner"), [("qupath", [290, 180]), ("level0", [300, 200])]
)
def test_a_tile_becomes_an_unlocked_annotation_without_a_class(tmp_path, coordinates, corner):
    facts = {"bounds_x_level0_px": 10, "bounds_y_level0_px": 20}
    body = written(tmp_path, coordinates, facts)
    assert body["type"] == "FeatureCollection"
    (feature,) = body["features"]
    ring = feature["geometry"]["coordinates"][0]
    assert ring[0] == ring[-1] == corner
    assert ring[2] == [corner[0] + 100, corner[1] + 50]
    properties = feature["properties"]
    assert properties["objectType"] == "annotation"
    assert properties["isLocked"] is False
    assert "classification" not in properties
    assert properties["metadata"]["sample"] == f"{SLIDE.id}:300-200"
    assert properties["metadata"]["offset_x_level0_px"] == str(300 - corner[0])
    assert all(isinstance(value, str) for value in properties["metadata"].values())


def test_the_file_is_named_after_the_slide_and_ids_stay(tmp_path):
    body = written(tmp_path, "qupath", {})
    assert (tmp_path / "ward" / "a b.svs.geojson").is_file()
    again = written(tmp_path, "qupath", {})
    assert (tmp_path / "ward" / f"a b.svs.{SLIDE.id}.geojson").is_file()
    assert body == again


def test_pictures_of_a_set_lie_on_no_slide(tmp_path):
    table = rows([(0, 0)])
    names = [name for name in table.column_names if name.endswith("_px")]
    for name in names:
        place = table.column_names.index(name)
        table = table.set_column(place, name, pa.nulls(1, table.schema.field(name).type))
    assert DOMAIN.point_out(SLIDE, {}, table, SuggestOptions(), tmp_path) == ()
    assert DOMAIN.around(table, 0) == ()
    assert list(tmp_path.iterdir()) == []


def test_options_of_another_command_are_refused(tmp_path):
    with pytest.raises(DataError, match="SuggestOptions"):
        DOMAIN.point_out(SLIDE, {}, rows([(0, 0)]), ReadOptions(), tmp_path)


def test_tiles_that_touch_or_overlap_lie_around():
    table = rows([(0, 0), (100, 0), (150, 25), (300, 0), (100, 50), (100, 100)])
    found = {one.place: (one.right, one.down) for one in DOMAIN.around(table, 1)}
    assert found == {0: (-1, 0), 2: (0.5, 0.5), 4: (0, 1)}


def test_tiles_near_each_other_are_those_of_a_painted_grid():
    """Corners of 100.5 px tiles are rounded down to whole pixels: a pixel more is as far."""
    corners = [(0, 0), (101, 0), (201, 0), (0, 101), (101, 101), (700, 0)]
    table = rows(corners, size=(100.5, 100.5))
    table = table.append_column("source", pa.array(["a"] * 5 + ["b"]))
    found = DOMAIN.relations(table, RelationOptions())
    pairs = {
        kind: {
            (row, other)
            for row, other, one in zip(*(found.column(n).to_pylist() for n in NAMES), strict=True)
            if one == kind
        }
        for kind in ("partner", "same")
    }
    touching = {(0, 1), (0, 3), (0, 4), (1, 2), (1, 3), (1, 4), (2, 4), (3, 4)}
    assert pairs["partner"] == touching | {(other, row) for row, other in touching}
    assert pairs["same"] - pairs["partner"] == {(0, 2), (2, 0), (2, 3), (3, 2)}
    none = DOMAIN.relations(table, RelationOptions(partner_sides=0, same_sides=0))
    assert len(none) == 0
