"""Tissue that is found, drawn, corrected and taken back; what is doubtful is said."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import shapely
import tifffile
from click.testing import CliRunner
from PIL import Image

from histoscope.apps.cli import run
from histoscope.core.data.store import Store
from histoscope.domains.pathology.annotations.drawing import Drawing
from histoscope.domains.pathology.survey import BLURRED, sharpness
from histoscope.domains.pathology.survey_command import command
from histoscope.domains.pathology.tissue import tissue_mask
from histoscope.domains.pathology.tissue_outline import mask_of, outline_features, outline_of

RATIO = (16.3, 15.9)
CUT = ("--domain", "pathology", "--size-px", 32, "--tile-mpp", 1, "--workers", 0)
PER_CM = {"resolution": (10_000, 10_000), "resolutionunit": "CENTIMETER"}


def blobs(shape: tuple[int, int] = (300, 400), seed: int = 0) -> np.ndarray:
    """Pieces with holes."""
    noise = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 12) > 0.02)


def drawn(*outlines: object) -> list[Drawing]:
    return [Drawing(n, "", None, one) for n, one in enumerate(outlines, 1)]


def test_an_outline_gives_the_mask_that_it_was_made_of():
    mask = blobs()
    back = mask_of(drawn(outline_of(mask, RATIO)), mask.shape, RATIO)
    assert (mask & back).sum() / (mask | back).sum() > 0.97


@pytest.mark.parametrize("seed", range(5))
def test_a_mask_holds_the_pixels_whose_middle_lies_inside(seed: int):
    rng = np.random.default_rng(seed)
    one = shapely.buffer(shapely.Point(rng.uniform(0, 4000, 2)), rng.uniform(300, 1500))
    other = shapely.box(-100, 500, rng.uniform(100, 3000), 900)
    hole = shapely.buffer(one.centroid, 200)
    shapes = [shapely.difference(one, hole), other]
    mask = mask_of(drawn(*shapes), (200, 250), RATIO)
    x, y = (np.arange(250) + 0.5) * RATIO[0], (np.arange(200) + 0.5) * RATIO[1]
    known = shapely.contains_xy(shapely.union_all(shapes), *np.meshgrid(x, y))
    assert (mask == known).all()


def test_nothing_drawn_is_no_tissue():
    assert not mask_of(drawn(None), (5, 6), RATIO).any()
    assert list(outline_features(outline_of(np.zeros((5, 6), bool), RATIO), "s", (0, 0))) == []


def test_pieces_can_be_deleted_one_by_one():
    mask = np.zeros((50, 60), bool)
    mask[5:20, 5:20] = mask[30:45, 30:50] = True
    mask[10:15, 10:15] = False
    found = list(outline_features(outline_of(mask, (10.0, 10.0)), "s", (7, 3)))
    assert [one["properties"]["classification"]["name"] for one in found] == ["Tissue"] * 2
    assert len({one["id"] for one in found}) == 2
    rings = sorted(len(one["geometry"]["coordinates"]) for one in found)
    assert rings == [1, 2]  # one with its hole
    corners = np.concatenate([one["geometry"]["coordinates"][0] for one in found])
    assert corners.min(axis=0).tolist() == [50 - 7, 50 - 3]


def section(blur: float = 0) -> np.ndarray:
    """Stained noise on glass."""
    rng = np.random.default_rng(0)
    image = np.full((256, 256, 3), 244, np.uint8)
    grain = cv2.GaussianBlur(rng.standard_normal((160, 160, 1)).astype(np.float32), (0, 0), 1.2)
    grain = (grain / grain.std())[..., None]
    image[40:200, 40:200] = np.clip([190, 120, 180] + 25 * grain, 0, 255)
    return image if not blur else np.asarray(cv2.GaussianBlur(image, (0, 0), blur))


def test_blurred_tissue_is_told_from_sharp_tissue():
    sharp, blurred = (sharpness(section(blur)) for blur in (0, 6))
    assert sharp is not None
    assert blurred is not None
    assert blurred < BLURRED < sharp
    assert sharpness(np.full((64, 64, 3), 244, np.uint8)) is None
    assert sharpness(section(6)[60:180, 60:180]) is None  # hardly any contrast is left


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {"photometric": "rgb", "metadata": None, "tile": (64, 64), **PER_CM}
    tifffile.imwrite(path, image, compression="zlib", **told)


@pytest.fixture
def slides(tmp_path: Path) -> Path:
    """Sharp, blurred, next to nothing, glass, and no slide at all."""
    folder = tmp_path / "slides"
    write(folder / "ward" / "a.tif", section())
    write(folder / "blurred.tif", section(6))
    speck = np.full((1024, 1024, 3), 244, np.uint8)
    speck[100:180, 100:180] = section()[60:140, 60:140]
    write(folder / "speck.tif", speck)
    write(folder / "glass.tif", np.full((256, 256, 3), 244, np.uint8))
    (folder / "cut.tif").write_bytes(b"II*\0")
    return folder


def survey(slides: Path, out: Path, *more: object, code: int = 1) -> dict[str, dict[str, str]]:
    asked = (slides, "--out", out, "--size-px", 32, "--tile-mpp", 1, "--workers", 0, *more)
    done = CliRunner().invoke(command, [str(word) for word in asked], standalone_mode=False)
    assert done.exception is None, done.output
    assert done.return_value == code
    with (out / "tissue.csv").open(newline="") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


def test_each_slide_has_a_row_a_picture_and_outlines(slides: Path, tmp_path: Path):
    rows = survey(slides, tmp_path / "out")
    assert {path: row["status"] for path, row in rows.items()} == {
        **{"ward/a.tif": "done", "blurred.tif": "done", "speck.tif": "done"},
        **{"glass.tif": "empty", "cut.tif": "failed"},
    }
    area = float(rows["ward/a.tif"]["tissue_mm2"])
    assert area == pytest.approx(0.16 * 0.16, rel=0.1)
    assert rows["ward/a.tif"]["reason"] == ""
    assert rows["blurred.tif"]["reason"].startswith("may be blurred: sharpness 0.")
    assert rows["speck.tif"]["reason"].startswith("little tissue: 0.6")
    with Image.open(tmp_path / "out" / "previews" / "ward" / "a.tif.jpg") as picture:
        assert min(picture.size) >= 256
    body = json.loads((tmp_path / "out" / "outlines" / "ward" / "a.tif.geojson").read_text())
    assert len(body["features"]) == 1
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    survey(slides, tmp_path / "out")
    assert before == {path: path.read_bytes() for path in before}


def test_what_a_person_corrects_is_the_tissue(slides: Path, tmp_path: Path):
    survey(slides, tmp_path / "out")
    mine = tmp_path / "out" / "outlines" / "ward" / "a.tif.geojson"
    body = json.loads(mine.read_text())
    ring = [[40, 40], [104, 40], [104, 104], [40, 104], [40, 40]]
    body["features"][0]["geometry"] = {"type": "Polygon", "coordinates": [ring]}
    mine.write_text(json.dumps(body))
    (tmp_path / "out" / "outlines" / "speck.tif.geojson").unlink()
    asked = ("--tissue", tmp_path / "out" / "outlines", "--out", tmp_path / "store")
    words = ["prepare", slides, *CUT, *asked]
    assert run([str(word) for word in words]) == 1
    store = Store(tmp_path / "store")
    facts = {row["path"]: json.loads(row["facts"] or "{}") for row in store.manifest.values()}
    told = {path: one.get("tissue") for path, one in facts.items()}
    assert told["ward/a.tif"] == "drawn"
    assert told["speck.tif"] == "found"
    index = store.index.to_pylist()
    of_a = {row["id"] for row in store.manifest.values() if row["path"] == "ward/a.tif"}
    places = {(r["x_level0_px"], r["y_level0_px"]) for r in index if r["source"] in of_a}
    assert places == {(x, y) for x in (32, 64) for y in (32, 64)}
    survey(slides, tmp_path / "out")
    assert json.loads(mine.read_text()) == body  # is not written over


def test_a_slide_whose_outlines_were_all_deleted_is_empty(slides: Path, tmp_path: Path):
    survey(slides, tmp_path / "out")
    for file in (tmp_path / "out" / "outlines").rglob("*.geojson"):
        file.write_text('{"type": "FeatureCollection", "features": []}')
    rows = survey(slides, tmp_path / "again", "--tissue", tmp_path / "out" / "outlines")
    assert rows["ward/a.tif"]["status"] == "empty"
    assert rows["ward/a.tif"]["reason"] == "no tissue: nothing of it is outlined"


def test_two_files_of_one_slide_are_refused(slides: Path, tmp_path: Path, capsys):
    survey(slides, tmp_path / "out")
    outlines = tmp_path / "out" / "outlines"
    (outlines / "speck.geojson").write_bytes((outlines / "speck.tif.geojson").read_bytes())
    words = ["prepare", slides, *CUT, "--tissue", outlines, "--out", tmp_path / "store"]
    assert run([str(word) for word in words]) == 2
    assert "speck.geojson and speck.tif.geojson are of one slide" in capsys.readouterr().err


def test_an_outline_that_encloses_nothing_is_said(slides: Path, tmp_path: Path):
    (tmp_path / "mine").mkdir()
    line = {"type": "LineString", "coordinates": [[40, 40], [90, 40], [90, 90], [40, 40]]}
    body = {"type": "Feature", "geometry": line, "properties": {}}
    (tmp_path / "mine" / "a.geojson").write_text(json.dumps(body))
    rows = survey(slides, tmp_path / "out", "--tissue", tmp_path / "mine")
    said = "1 outlines of tissue cannot be used (a LineString has no area)"
    assert said in rows["ward/a.tif"]["reason"]
    assert not (tmp_path / "out" / "outlines" / "ward").exists()  # a person's are not drawn anew


def test_what_is_written_inside_the_input_is_no_slide(slides: Path):
    survey(slides, slides / "survey")
    assert len(survey(slides, slides / "survey")) == 5
    words = ["prepare", slides, *CUT, "--out", slides / "store"]
    assert run([str(word) for word in words]) == 1
    assert len(Store(slides / "store").manifest) == 5


def test_a_name_that_is_too_long_for_files_ends_no_more_than_its_slide(
    slides: Path, tmp_path: Path
):
    (slides / "ward" / "a.tif").rename(slides / "ward" / f"{'a' * 240}.tif")
    rows = survey(slides, tmp_path / "out")
    (long,) = (row for path, row in rows.items() if path.startswith("ward"))
    assert long["status"] == "failed"
    assert "its name is too long" in long["reason"]


def test_outlines_of_nothing_here_are_refused(slides: Path, tmp_path: Path):
    (tmp_path / "outlines").mkdir()
    (tmp_path / "outlines" / "z.geojson").write_text("[]")
    words = ["prepare", slides, *CUT, "--tissue", tmp_path / "outlines", "--out", tmp_path / "s"]
    assert run([str(word) for word in words]) == 2


@pytest.mark.data
def test_the_exam_of_pictures(real_data: Path):
    """Every clear tissue is kept; of what is to be refused at least 8 of 11, glass above all."""
    folder = real_data / "pathology" / "quality"
    with (folder / "truth.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    kept = {}
    for row in rows:
        image = np.asarray(Image.open(folder / row["file"]).convert("RGB"))
        sharp = sharpness(image)
        there = tissue_mask(image).mean() >= 0.05
        kept[row["file"]] = bool(there and sharp is not None and sharp >= BLURRED)
    wanted = {word: [kept[r["file"]] for r in rows if r["keep"] == word] for word in ("yes", "no")}
    assert wanted["yes"] == [True] * 14
    assert wanted["no"] == [False] * 11
