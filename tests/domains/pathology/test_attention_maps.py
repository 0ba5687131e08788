"""How much tiles counted: in its colour where they lie, exact in tables and for QuPath."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from shapely.geometry import shape

from histoscope.core.contracts import Answer, Rendering, Results, Source, Task
from histoscope.domains.pathology.attention import ALPHA, FAINT, LEGEND
from histoscope.domains.pathology.canvas import rgb
from histoscope.domains.pathology.class_map import NOTHING, step_map
from histoscope.domains.pathology.drawings import render
from tests.domains.pathology.test_drawings import COLOURS, PaintedReader, pixels, scores, tiles

GRADE = Task("grade", ("low", "high"), level="source")
TISSUE = Task("tissue", ("fat", "muscle", "gland"))
CUTS = np.full(3, 0.5, np.float32)
SIDE, COLUMNS, COUNT = 800, 20, 100
TIMES = (0.1, 1.0, 4.0, 20.0, 60.0)  # one of each step; the others share what is left


def said(times: Sequence[float], task: Task = GRADE) -> Answer:
    """Of a slide, by a head that tells how much its tiles counted."""
    weights = np.array(times) / len(times)
    assert weights.sum() == pytest.approx(1)
    score = np.array([[0.3, 0.7]], np.float32)
    return Answer(task, score, COLOURS[:2], CUTS[:2], weights=weights)


def hundred() -> tuple[pa.Table, list[float]]:
    """Five rows of tiles without gaps, and how much each counts."""
    places = [(SIDE * (n % COLUMNS), SIDE * (n // COLUMNS)) for n in range(COUNT)]
    rest = (COUNT - sum(TIMES)) / (COUNT - len(TIMES))
    times = [*TIMES[:2], rest, *TIMES[2:], *[rest] * (COUNT - len(TIMES) - 1)]
    return tiles(places, SIDE, ["ok"] * COUNT), times


def draw(
    out: Path,
    rows: pa.Table,
    of_source: Sequence[Answer],
    answers: Sequence[Answer] = (),
    coordinates: Any = "qupath",
    bounds: tuple[int, int] = (0, 0),
) -> Rendering:
    reader = PaintedReader()
    named = {f"bounds_{axis}_level0_px": at for axis, at in zip("xy", bounds, strict=True)}
    reader.facts = {**reader.facts, **(named if any(bounds) else {})}
    results = Results(Source("0" * 16, "a.tif"), rows, answers, of_source)
    return render(reader, results, coordinates, out)  # type: ignore[arg-type]


def features(file: Path) -> list[dict[str, Any]]:
    body = json.loads(file.read_text("utf-8"))
    return body["features"]


def table(file: Path) -> dict[str, list[Any]]:
    return pyarrow.csv.read_csv(file).to_pydict()


def test_each_tile_has_the_colour_of_its_step_where_it_lies(tmp_path):
    rows, times = hundred()
    rendering = draw(tmp_path, rows, [said(times)])
    image = pixels(tmp_path / "attention.png").astype(int)
    pale = 255 - (255 - 200) * FAINT
    colours = [np.array(rgb(one)) for one in LEGEND.values()]
    for place, step in {0: 0, 1: 1, 2: 0, 3: 2, 4: 3, 5: 4, 47: 0}.items():
        y, x = (SIDE // 10 * at for at in divmod(place, COLUMNS))
        wanted = np.rint(pale + (colours[step] - pale) * ALPHA)
        inside = image[y + 2 : y + SIDE // 10 - 2, x + 2 : x + SIDE // 10 - 2]
        assert np.abs(inside - wanted).max() <= 1, place
    assert (image[450:790] == round(pale)).all()
    picture = rendering.artefacts[0]
    assert (picture.file, picture.kind) == ("attention.png", "picture")
    assert picture.title == "Attention: how much each tile counted"
    assert "(grade)" in picture.caption
    assert "not where a class lies, and was never checked against drawings" in picture.caption


def test_the_colours_are_the_lighter_the_more():
    bgr = np.array([rgb(one)[::-1] for one in LEGEND.values()], np.uint8)[None]
    light = cv2.cvtColor(bgr, cv2.COLOR_BGR2LAB)[0, :, 0].astype(int)
    steps = np.diff(light)
    assert (steps > 0).all()
    assert steps.max() < 1.5 * steps.min()


def test_overlapping_tiles_have_their_mean():
    rows = tiles([(0, 0), (50, 0), (200, 0)], 100, ["ok"] * 3)
    where = step_map(rows, np.array([2.6, 0.2, 0.2]), (1000, 1000), (0.5, 2))
    assert where.cells.tolist() == [[2, 1, 0, NOTHING, 0]]
    edges = step_map(rows, np.array([2.0, np.nan, 0.5]), (1000, 1000), (0.5, 2))
    assert edges.cells.tolist() == [[2, 2, 3, NOTHING, 1]]
    assert edges.unreadable == 3


def test_an_unreadable_tile_is_hatched_and_has_no_part_in_the_average(tmp_path):
    rows = tiles([(0, 0), (1000, 0), (2000, 0)], 1000, ["ok", "lost", "ok"])
    rendering = draw(tmp_path, rows, [said([1.5, 0.5])])
    inside = pixels(tmp_path / "attention.png")[2:98, 102:198]
    found = {tuple(value) for value in inside.reshape(-1, 3).tolist()}
    assert found == {(55, 55, 55), (225, 225, 225)}
    assert "Hatched tiles could not be read" in rendering.artefacts[0].caption
    assert [one["properties"] for one in features(tmp_path / "tiles.geojson")] == [
        {"objectType": "tile", "measurements": {"attention grade": 1.5}},
        {"objectType": "tile", "name": "lost"},
        {"objectType": "tile", "measurements": {"attention grade": 0.5}},
    ]
    assert table(tmp_path / "attention.csv")["x_level0_px"] == [0, 2000]


def test_qupath_gets_a_measurement_where_only_the_slide_has_an_answer(tmp_path):
    rows, times = hundred()
    for name in ("one", "two"):
        draw(tmp_path / name, rows, [said(times)], bounds=(30, 20))
    found = features(tmp_path / "one" / "tiles.geojson")
    told = [one["properties"]["measurements"]["attention grade"] for one in found]
    assert told == [round(one, 6) for one in times]
    assert sum(told) == pytest.approx(COUNT, abs=1e-3)
    assert shape(found[21]["geometry"]).bounds == (770, 780, 1570, 1580)
    assert len({one["id"] for one in found}) == COUNT
    for file in ("tiles.geojson", "attention.png", "attention.csv"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_the_measurement_stands_beside_those_of_classes(tmp_path):
    rows = tiles([(0, 0), (1000, 0)], 1000, ["ok"] * 2)
    tissue = Answer(TISSUE, scores([1, 2]), COLOURS, CUTS)
    signs = replace(tissue, task=Task("signs", TISSUE.classes, exclusive=False))
    for answers in ([tissue], [tissue, signs]):
        out = tmp_path / str(len(answers))
        rendering = draw(out, rows, [said([1.75, 0.25])], answers)
        files = [one.file for one in rendering.artefacts if one.file.startswith("tiles")]
        names = ["tiles-tissue.geojson", "tiles-signs.geojson"] if signs in answers else None
        assert files == (names or ["tiles.geojson"])
        for file in files:
            first, second = (one["properties"]["measurements"] for one in features(out / file))
            assert first == {"fat": 0.1, "muscle": 0.8, "gland": 0.1, "attention grade": 1.75}
            assert second["attention grade"] == 0.25
        pictures = [one.file for one in rendering.artefacts if one.kind == "picture"]
        assert pictures[-2:] == ["attention.png", "thumbnail.jpg"]


def test_several_heads_have_files_of_their_own_and_one_of_objects(tmp_path):
    rows = tiles([(0, 0), (1000, 0)], 1000, ["ok"] * 2)
    site = replace(GRADE, name="site")
    silent = replace(said([1, 1]), weights=None)
    rendering = draw(tmp_path, rows, [said([1.75, 0.25]), silent, said([0.5, 1.5], site)])
    assert [one.file for one in rendering.artefacts] == [
        *("attention-grade.png", "attention-site.png", "thumbnail.jpg"),
        *("attention-grade.csv", "attention-site.csv", "tiles.geojson"),
    ]
    assert rendering.artefacts[1].title == "Attention for site: how much each tile counted"
    told = [one["properties"]["measurements"] for one in features(tmp_path / "tiles.geojson")]
    assert told[0] == {"attention grade": 1.75, "attention site": 0.5}
    assert table(tmp_path / "attention-site.csv")["x_level0_px"] == [1000, 0]
    halves = [name for name in rendering.facts if name.startswith("Half of the attention")]
    assert halves == [f"Half of the attention for {name} lies on" for name in ("grade", "site")]


def test_a_head_that_does_not_say_leaves_nothing(tmp_path):
    rows = tiles([(0, 0)], 1000, ["ok"])
    rendering = draw(tmp_path, rows, [replace(said([1]), weights=None)])
    assert [one.file for one in rendering.artefacts] == ["thumbnail.jpg"]
    assert not any("attention" in name for name in rendering.facts)


def test_the_table_says_where_the_first_lie_and_what_they_hold(tmp_path):
    rows, times = hundred()
    rendering = draw(tmp_path, rows, [said(times)], bounds=(30, 20))
    found = table(tmp_path / "attention.csv")
    assert found["rank"] == list(range(1, 13))
    order = [5, 4, 3, 1, 2, *range(6, 13)]  # equals as they were read
    assert found["x_level0_px"] == [SIDE * place for place in order]
    assert found["x_qupath_px"] == [x - 30 for x in found["x_level0_px"]]
    assert found["y_qupath_px"] == [-20] * 12
    assert found["times_average"] == [round(times[place], 6) for place in order]
    assert found["together"][:3] == [0.6, 0.8, 0.84]
    assert rendering.facts["Half of the attention lies on"] == "1 of 100 tiles"
    shown = next(one for one in rendering.artefacts if one.file == "attention.csv")
    assert [one.name for one in shown.columns] == list(found)
    assert (shown.title, shown.task) == ("Attention: the first 12 tiles", "")
    uncropped = draw(tmp_path / "b", rows, [said(times)], coordinates="level0", bounds=(30, 20))
    assert "x_qupath_px" not in table(tmp_path / "b" / "attention.csv")
    assert uncropped.facts == rendering.facts


def test_tiles_that_hold_next_to_nothing_are_not_listed(tmp_path):
    rows, _ = hundred()
    rest = 0.9 / (COUNT - 2)
    draw(tmp_path, rows, [said([rest] * 50 + [90, 9.1] + [rest] * 48)])
    found = table(tmp_path / "attention.csv")
    assert found["times_average"] == [90, 9.1]
    assert found["together"] == [0.9, 0.991]


@pytest.mark.parametrize(("count", "few"), [(1, 1), (2, 1), (7, 4), (1000, 500)])
def test_of_equal_tiles_half_hold_half(tmp_path, count, few):
    rows = tiles([(10 * n, 0) for n in range(count)], 10, ["ok"] * count)
    facts = draw(tmp_path, rows, [said([1.0] * count)]).facts
    numbers = f"{few} of {count:,} tiles".replace(",", "\u202f")
    assert facts["Half of the attention lies on"] == numbers


def test_of_a_set_without_places_only_the_fact_is_told(tmp_path):
    rows = tiles([(0, 0)] * 2, 10, ["ok"] * 2)
    rows = rows.set_column(0, "x_level0_px", pa.nulls(2, pa.int64()))
    rendering = draw(tmp_path, rows, [said([1.5, 0.5])])
    assert rendering.artefacts == []
    assert rendering.facts["Half of the attention lies on"] == "1 of 2 tiles"
