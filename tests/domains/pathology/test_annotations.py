"""QuPath annotations: how they are read and matched, and what the commands make of them."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import shapely
import tifffile

from histoscope.apps.cli import run
from histoscope.core.data.store import Store
from histoscope.core.errors import DataError, UnreadableSource
from histoscope.domains.pathology import DOMAIN
from histoscope.domains.pathology.annotations.reading import read_drawings
from histoscope.domains.pathology.opening import _drawn_on
from histoscope.domains.pathology.options import PrepareOptions
from histoscope.domains.pathology.tiling import Box
from histoscope.domains.pathology.told import ToldOfSlide
from tests.domains.pathology.asap_files import annotation
from tests.domains.pathology.asap_files import write as write_asap

SQUARE = [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]
HOLE = [[2, 2], [4, 2], [4, 4], [2, 4], [2, 2]]
BOWTIE = [[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]


def feature(rings=(SQUARE,), kind="Tumor", geometry="Polygon", **properties):
    if kind is not None:
        properties["classification"] = kind
    shape = {"type": geometry, "coordinates": list(rings)}
    return {"type": "Feature", "geometry": shape, "properties": properties}


def box(left, top, right, bottom):
    return [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]


def read(folder, body, offset=(0, 0)):
    path = folder / "x.geojson"
    path.write_text(body if isinstance(body, str) else json.dumps(body), encoding="utf-8")
    return read_drawings(path, offset)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda one: {"type": "FeatureCollection", "features": [one]},
        lambda one: [one],
        lambda one: one,
    ],
    ids=["collection", "array", "feature"],
)
def test_a_collection_an_array_and_a_feature_are_read(tmp_path, wrap):
    (one,) = read(tmp_path, wrap(feature(name="a")))
    assert (one.number, one.name, one.kind, one.outline.area) == (1, "a", "Tumor", 100)


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ("Tumor", "Tumor"),
        ({"name": "Tumor", "color": [1, 2, 3]}, "Tumor"),
        ({"names": ["Tumor", "Positive"]}, "Tumor: Positive"),
        (None, None),
        ("", None),
        ({}, None),
    ],
)
def test_a_class_is_a_text_or_an_object(tmp_path, told, kind):
    assert read(tmp_path, feature(kind=told))[0].kind == kind


@pytest.mark.parametrize("key", ["objectType", "object_type", "type"])
def test_what_is_no_annotation_gives_nothing_and_is_told(tmp_path, key):
    cell, drawn = read(tmp_path, [feature(**{key: "cell"}), feature(**{key: "annotation"})])
    assert (cell.outline, cell.note) == (None, "a cell, not an annotation")
    assert drawn.outline.area == 100


def test_holes_parts_offsets_and_children_count(tmp_path):
    several = feature([[SQUARE, HOLE], [box(20, 0, 30, 10)]], geometry="MultiPolygon")
    several["properties"]["childObjects"] = [feature([HOLE], "Stroma")]
    parent, child = read(tmp_path, [several], offset=(100, 50))
    assert parent.outline.area == 100 - 4 + 100
    assert parent.outline.bounds == (100, 50, 130, 60)
    assert (child.number, child.kind, child.outline.area) == (2, "Stroma", 4)


def test_crossing_lines_are_mended_and_told(tmp_path):
    (one,) = read(tmp_path, feature([BOWTIE]))
    assert one.outline.area == pytest.approx(50)
    assert one.note == "mended: self-intersection"


@pytest.mark.parametrize(
    ("geometry", "note"),
    [
        ({"type": "Point", "coordinates": [1, 2]}, "a Point has no area"),
        ({"type": "LineString", "coordinates": [[0, 0], [5, 5]]}, "a LineString has no area"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1]]]}, "cannot be read"),
        ({"type": "Polygon", "coordinates": []}, "a Polygon has no area"),
        ({"type": "Circle", "coordinates": [1, 2]}, "cannot be read"),
        ({"type": "Polygon"}, "cannot be read"),
        (None, "has no geometry"),
    ],
)
def test_a_geometry_without_an_area_is_told(tmp_path, geometry, note):
    (one,) = read(tmp_path, feature() | {"geometry": geometry})
    assert one.outline is None
    assert note in one.note


def test_polygons_in_a_collection_of_geometries_count(tmp_path):
    parts = [feature()["geometry"], {"type": "Point", "coordinates": [50, 50]}]
    parts.append({"type": "MultiPolygon", "coordinates": [[box(20, 0, 30, 10)]]})
    geometry = {"type": "GeometryCollection", "geometries": parts}
    assert read(tmp_path, feature() | {"geometry": geometry})[0].outline.area == 200


def test_what_qupath_writes_beside_json_is_read(tmp_path):
    text = json.dumps([feature(measurements={"a": float("nan")})])
    assert "NaN" in text
    text = text.replace('"measurements"', '"metadata": {"a": "1"}, "metadata": {}, "measurements"')
    assert read(tmp_path, "\ufeff" + text)[0].kind == "Tumor"


@pytest.mark.parametrize("text", ["", "{", '{"a": 1}', "7", '"text"'])
def test_another_file_is_refused_in_one_line(tmp_path, text):
    with pytest.raises(DataError, match=r"x\.geojson: no") as fault:
        read(tmp_path, text)
    assert "\n" not in str(fault.value)


def test_a_file_without_drawings_is_none_the_worse(tmp_path):
    assert read(tmp_path, []) == []
    assert read(tmp_path, {"type": "FeatureCollection", "features": []}) == []


def write_slide(path):
    """80 px of dense texture on glass, 1 um per px."""
    pixels = np.full((160, 160, 3), 245, np.uint8)
    grain = np.random.default_rng(0).integers(-30, 30, (80, 160, 3))
    pixels[:80] = np.array([150, 60, 140]) + grain
    path.parent.mkdir(parents=True, exist_ok=True)
    per_cm = {"resolution": (10_000, 10_000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, pixels, tile=(64, 64), photometric="rgb", metadata=None, **per_cm)


@pytest.fixture
def slides(tmp_path):
    """Two slides, one with annotations; a drawing between tiles, and one of everything else."""
    write_slide(tmp_path / "slides" / "x.tif")
    pixels = tmp_path / "slides" / "y.tif"
    write_slide(pixels)
    pixels.write_bytes(pixels.read_bytes() + b"\0")  # else it were a copy
    drawings = [
        feature([box(0, 0, 100, 40)], "Tumor", name="large"),
        feature([box(108, 28, 132, 52)], {"name": "Vessel"}, name="between"),
        feature([box(150, 10, 155, 15)], "Tumor", name="small"),
        feature([BOWTIE], None),
        feature(kind="Odd"),
    ]
    place = tmp_path / "drawn" / "x.geojson"
    place.parent.mkdir()
    place.write_text(json.dumps(drawings))
    (tmp_path / "drawn" / "lost.geojson").write_text("[]")
    return tmp_path


CUT = ("--domain", "pathology", "--size-px", 32, "--tile-mpp", 1, "--workers", 0)


def table(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def command(code, *words):
    assert run([str(word) for word in words]) == code, words


def test_drawings_label_tiles_as_they_are_cut_and_add_one_between(slides):
    drawn = ("--annotations", slides / "drawn", "--rest-is", "other", "--task", "what")
    names = ("--class-names", "Tumor=tumour,Odd=odd")
    command(0, "prepare", slides / "slides", *CUT, *drawn, *names, "--out", slides / "store")
    store = Store(slides / "store")
    labels = store.labels("what")
    assert labels.task.classes == ("Vessel", "other", "tumour")
    told = dict(zip(labels.names.to_pylist(), labels.rows["label"].to_pylist(), strict=True))
    found = {key.partition(":")[2]: name for key, name in told.items() if name}
    assert found["104-24"] == "Vessel"
    assert {found["0-0"], found["32-0"], found["64-0"]} == {"tumour"}
    assert {found["0-32"], found["128-0"]} == {"other"}
    assert sum(name is None for name in told.values()) == 15  # of the slide without drawings
    rows = table(slides / "store" / "manifest.csv")
    assert [row["reason"] for row in rows] == [
        "annotated tiles: Vessel 1, tumour 3; 3 of 5 annotations gave no tile",
        "",
    ]


def test_changed_drawings_are_read_again_and_nothing_else(slides, capsys):
    drawn = ("--annotations", slides / "drawn", "--rest-is", "other", "--task", "what")
    again = ("prepare", slides / "slides", *CUT, *drawn, "--out", slides / "store")
    command(0, *again)
    of_x, of_y = (one["id"] for one in table(slides / "store" / "manifest.csv"))
    file = slides / "drawn" / "x.geojson"
    file.write_text(file.read_text().replace('"Tumor"', '"Ulcer"'))
    kept = slides / "store" / "shards" / f"{of_y}.arrow"
    before = kept.stat().st_mtime_ns
    capsys.readouterr()
    command(0, *again)
    said = capsys.readouterr().err
    assert "1 of 2 sources are done already" in said
    assert "1 are done again" in said
    labels = Store(slides / "store").labels("what")
    assert "Ulcer" in labels.task.classes
    assert "Tumor" not in labels.task.classes
    told = dict(zip(labels.names.to_pylist(), labels.rows["label"].to_pylist(), strict=True))
    assert told[f"{of_x}:0-0"] == "Ulcer"
    assert kept.stat().st_mtime_ns == before
    command(0, *again)
    assert "2 of 2 sources are done already" in capsys.readouterr().err


def test_a_table_says_what_became_of_every_drawing(slides, capsys):
    command(0, "prepare", slides / "slides", *CUT, "--out", slides / "store")
    asked = ("--task", "what", "--classes", "Tumor,Vessel,other", "--rest-is", "other")
    out = slides / "out"
    command(0, "annotations", slides / "store", slides / "drawn", *asked, "--out", out)
    rows = table(out / "annotations.csv")
    assert [
        (row["file"], row["name"], row["class"], row["tiles"], row["note"]) for row in rows
    ] == [
        ("lost.geojson", "", "", "0", "no slide of this name"),
        ("x.geojson", "large", "Tumor", "3", ""),
        ("x.geojson", "between", "Vessel", "0", "covers half of no tile"),
        ("x.geojson", "small", "Tumor", "0", "covers half of no tile"),
        ("x.geojson", "", "", "0", "mended: self-intersection; no class"),
        ("x.geojson", "", "Odd", "0", "'Odd' is none of the classes"),
    ]
    assert float(rows[1]["area_mm2"]) == pytest.approx(0.004)
    said = capsys.readouterr().out
    assert "other: 12 tiles\nTumor: 3 tiles" in said
    assert "1 of 5 annotations label a tile; 1 files of no slide" in said
    order = ("--classes", "Tumor,other")
    command(0, "labels", slides / "store", out / "labels-what.csv", *order)
    assert Store(slides / "store").labels("what").task.classes == ("Tumor", "other")


def test_drawings_on_a_slide_without_tiles_are_told_too(slides):
    glass = slides / "slides" / "glass.tif"
    pixels = np.full((64, 64, 3), 245, np.uint8)
    per_cm = {"resolution": (10_000, 10_000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(glass, pixels, photometric="rgb", metadata=None, **per_cm)
    (slides / "drawn" / "glass.geojson").write_text(json.dumps(feature()))
    (slides / "drawn" / "x.tif.geojson").write_text("{")
    command(0, "prepare", slides / "slides", *CUT, "--out", slides / "more")
    command(0, "annotations", slides / "more", slides / "drawn", "--out", slides / "out")
    rows = table(slides / "out" / "annotations.csv")
    notes = {row["file"]: row["note"] for row in rows}
    assert notes["glass.geojson"] == "covers half of no tile"
    assert notes["x.tif.geojson"].startswith("x.tif.geojson: not JSON")
    drawn = ("--annotations", slides / "drawn", "--out", slides / "refused")
    command(1, "prepare", slides / "slides", *CUT, *drawn)
    rows = {row["path"]: row for row in table(slides / "refused" / "manifest.csv")}
    assert rows["x.tif"]["reason"].startswith("its annotations cannot be used: x.tif.geojson")
    assert (rows["y.tif"]["status"], rows["glass.tif"]["status"]) == ("done", "empty")


def test_drawings_of_asap_label_tiles_as_those_of_qupath(slides, capsys):
    drawn = json.loads((slides / "drawn" / "x.geojson").read_text())
    rings = [(one["geometry"]["coordinates"][0], one["properties"]) for one in drawn]
    groups = [told.get("classification", "None") for _, told in rings]
    groups = [one["name"] if isinstance(one, dict) else one for one in groups]
    (slides / "asap").mkdir()
    write_asap(
        slides / "asap" / "x.xml",
        *(
            annotation(ring[:-1], group=group, name=told.get("name", ""))
            for (ring, told), group in zip(rings, groups, strict=True)
        ),
        groups=set(groups),
    )
    (slides / "asap" / "notes.docx").write_text("")
    labels = []
    for folder in ("drawn", "asap"):
        asked = ("--annotations", slides / folder, "--rest-is", "other", "--task", "what")
        store = slides / f"store-{folder}"
        command(0, "prepare", slides / "slides", *CUT, *asked, "--out", store)
        command(0, "annotations", store, slides / folder, "--out", slides / f"out-{folder}")
        labels.append((slides / f"out-{folder}" / "labels-tissue.csv").read_text())
    assert labels[0] == labels[1]
    assert "1 files among the annotations (notes.docx): not .geojson or .xml" in (
        capsys.readouterr().err
    )


def test_suggested_tiles_come_back_from_qupath_as_labels(slides):
    command(0, "prepare", slides / "slides", *CUT, "--out", slides / "store")
    asked = ("--task", "what", "--classes", "a,b", "--count", 4, "--encoder", "colour")
    command(0, "suggest", slides / "store", *asked, "--out", slides / "suggested")
    folder = slides / "suggested" / "annotations"
    wanted = {}
    for path in folder.iterdir():
        body = json.loads(path.read_text())
        for place, one in enumerate(body["features"]):
            one["properties"]["classification"] = {"name": "ab"[place % 2], "color": [0, 0, 0]}
            wanted[one["properties"]["metadata"]["sample"]] = "ab"[place % 2]
        path.write_text(json.dumps(body))
    command(0, "annotations", slides / "store", folder, "--task", "what", "--out", slides / "out")
    rows = table(slides / "out" / "labels-what.csv")
    assert {row["sample"]: row["label"] for row in rows} == wanted
    assert len(wanted) == 4


def test_pixels_are_qupaths_unless_said(tmp_path):
    (tmp_path / "x.geojson").write_text(json.dumps(feature()))
    scanned = Box(100, 200, 50, 50)

    def left(**more):
        told = ToldOfSlide(drawings=[tmp_path / "x.geojson"], **more)
        return _drawn_on(told, scanned).drawings[0].outline.bounds[:2]

    assert left() == (100, 200)
    assert left(coordinates="level0") == (0, 0)
    assert _drawn_on(ToldOfSlide(), scanned) is None
    (tmp_path / "x.geojson").write_text("{")
    with pytest.raises(UnreadableSource, match="its annotations cannot be used"):
        left()


def test_annotations_of_a_set_are_refused(tmp_path):
    options = PrepareOptions(annotations=tmp_path, layout="folders", mpp=1)
    with pytest.raises(DataError, match="--annotations is for slides"):
        list(DOMAIN.find({"input": tmp_path}, options))


def test_wrong_use_is_refused_in_one_line(slides, capsys):
    command(0, "prepare", slides / "slides", *CUT, "--out", slides / "store")
    capsys.readouterr()
    for words, said in [
        (("--rest-is", "b", "--classes", "a", "--out", slides / "out"), "not one of --classes a"),
        (("--out", slides / "drawn"), "not empty"),
    ]:
        command(2, "annotations", slides / "store", slides / "drawn", *words)
        assert said in capsys.readouterr().err
    command(2, "annotations", slides / "store", slides / "none", "--out", slides / "out")
    assert "no such file" in capsys.readouterr().err


@pytest.mark.data
def test_real_exports_are_read(real_data):
    folder = real_data / "pathology" / "annotations"
    (holed,) = read_drawings(folder / "qupath-holed.geojson")
    assert 0 < holed.outline.area < shapely.Polygon(holed.outline.exterior).area
    named = read_drawings(folder / "qupath05.geojson")
    assert [(one.name, one.kind) for one in named] == [("UT", None), ("I", None), ("I", None)]
    made = read_drawings(folder / "made-CMU-1-Small-Region.geojson")
    assert [one.kind for one in made] == ["Tissue", "Tissue", "Glass"]
    whole = 2220 * 2967  # px of the slide
    assert sum(one.outline.area for one in made[:2]) / whole == pytest.approx(0.404, abs=0.001)
