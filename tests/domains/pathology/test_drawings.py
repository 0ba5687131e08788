"""Colours lie where the tiles lie, areas are exact, what cannot be known is not shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from histoscope.core.contracts import Answer, Reader, Rendering, Results, Scalar, Source, Task
from histoscope.domains.pathology.canvas import ALPHA, length_name, nice_length, with_strip
from histoscope.domains.pathology.class_map import NOTHING, class_map
from histoscope.domains.pathology.drawings import render
from histoscope.domains.pathology.options import TileSampling
from histoscope.domains.pathology.thumbnail import Thumbnail

TASK = Task("tissue", ("fat", "muscle", "gland"))
COLOURS = ("#ff0000", "#00ff00", "#0000ff")
WIDTH, HEIGHT, RATIO = 16000, 8000, 10.0  # level-0 px; the thumbnail is 1600 x 800


class PaintedReader:
    """A slide of one grey value with a dark cross, and facts as the real reader gives them."""

    divisible = True

    def __init__(self, mpp: tuple[float, float] = (0.5, 0.5), readable: bool = True) -> None:
        self.facts: Mapping[str, Scalar] = {
            "reader": "painted",
            "vendor": "nobody",
            "width_level0_px": WIDTH,
            "height_level0_px": HEIGHT,
            "mpp_x": mpp[0],
            "mpp_y": mpp[1],
            "mpp_source": "default-mpp",
        }
        self.readable = readable

    def overview(self, longest_px: int) -> Thumbnail:
        assert longest_px == 1600
        image = np.full((800, 1600, 3), 200, np.uint8)
        seen = np.ones((800, 1600), np.bool_)
        seen[:100, :100] = self.readable
        return Thumbnail(image, np.ones_like(seen), seen, (RATIO, RATIO))


def tiles(places: Sequence[tuple[float, float]], side: float, status: Sequence[str]) -> pa.Table:
    count = len(places)
    return pa.table(
        {
            "x_level0_px": pa.array([x for x, _ in places], pa.int64()),
            "y_level0_px": pa.array([y for _, y in places], pa.int64()),
            "width_level0_px": pa.array([side] * count, pa.float64()),
            "height_level0_px": pa.array([side] * count, pa.float64()),
            "tissue": pa.array([0.5] * count, pa.float64()),
            "status": pa.array(status, pa.string()),
        }
    )


def scores(classes: Sequence[int | None]) -> NDArray[np.float32]:
    """0.8 for the class of each tile, NaN for a corrupt one."""
    out = np.full((len(classes), 3), 0.1, np.float32)
    for row, number in enumerate(classes):
        out[row, slice(None) if number is None else number] = np.nan if number is None else 0.8
    return out


def draw(reader: object, out: Path, rows: pa.Table, p: NDArray[np.float32]) -> Rendering:
    answer = Answer(TASK, p, COLOURS, np.full(len(COLOURS), 0.5, np.float32))
    return render(reader, Results(Source("0" * 16, "a.tif"), rows, [answer]), "qupath", out)  # type: ignore[arg-type]


def four(reader: object, out: Path) -> Rendering:
    """Fat, muscle and gland in a row, and a corrupt tile apart."""
    rows = tiles(
        [(2000, 1000), (3000, 1000), (4000, 1000), (9000, 5000)], 1000, ["ok"] * 3 + ["lost"]
    )
    return draw(reader, out, rows, scores([0, 1, 2, None]))


def pixels(file: Path) -> NDArray[np.uint8]:
    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB"))


def test_each_tile_has_its_class_colour_at_its_place_and_the_rest_is_left(tmp_path):
    four(PaintedReader(), tmp_path)
    image = pixels(tmp_path / "overlay.png")
    ground = np.full(3, 200)
    for number, x in enumerate((200, 300, 400)):
        colour = np.array([int(COLOURS[number][at : at + 2], 16) for at in (1, 3, 5)])
        inside = image[102:198, x + 2 : x + 98]
        wanted = np.rint(ground + (colour - ground) * ALPHA)
        assert np.abs(inside - wanted).max() <= 1
    for row, column in ((98, 250), (202, 250), (150, 197), (150, 503), (700, 1500)):
        assert (image[row, column] == 200).all()


def test_an_unreadable_tile_is_hatched_in_grey(tmp_path):
    rendering = four(PaintedReader(), tmp_path)
    inside = pixels(tmp_path / "overlay.png")[500:600, 900:1000]
    values = {tuple(value) for value in inside.reshape(-1, 3).tolist()}
    assert values == {(55, 55, 55), (225, 225, 225)}
    assert "Hatched tiles could not be read" in rendering.artefacts[0].caption


def test_the_table_counts_tiles_and_their_true_area(tmp_path):
    four(PaintedReader(mpp=(0.5, 0.25)), tmp_path)
    table = pyarrow.csv.read_csv(tmp_path / "classes.csv").to_pydict()
    area = 1000 * 0.5 * 1000 * 0.25 / 1e6
    assert table["class"] == list(TASK.classes)
    assert table["tiles"] == [1, 1, 1]
    assert table["area_mm2"] == pytest.approx([area] * 3)
    assert table["share"] == pytest.approx([1 / 3] * 3, abs=1e-6)


def test_the_facts_name_area_damage_scale_and_reader(tmp_path):
    facts = four(PaintedReader(), tmp_path).facts
    assert facts["Tiles analysed"] == "3"
    assert facts["Tiles that could not be read"] == "1"
    assert facts["Area analysed"] == "0.75 mm²"
    assert facts["Tissue in it, about"] == "0.375 mm²"
    assert facts["Scale"].startswith("0.5 µm per pixel of the full resolution, given with")
    assert "the file states none" in facts["Scale"]
    assert facts["Slide"].endswith("8 x 4 mm")
    assert facts["One tile"] == "500 µm wide (1000 px of the full resolution)"
    assert facts["Read with"] == "painted, nobody"


def test_the_scale_bar_is_as_long_as_it_says(tmp_path):
    four(PaintedReader(), tmp_path)
    strip = pixels(tmp_path / "thumbnail.jpg")[800:]
    # a quarter of 1600 px at 5 um is 2000 um: 400 px; the longest run of dark pixels is the bar
    dark = (strip < 100).all(axis=2)
    longest = max(
        len(run) for line in dark for run in "".join("x" if d else " " for d in line).split()
    )
    assert longest == pytest.approx(400, abs=6)


def test_what_the_overview_could_not_read_is_said(tmp_path):
    plain = four(PaintedReader(readable=False), tmp_path).artefacts[1]
    assert plain.caption == "Plain grey could not be read."
    assert np.abs(pixels(tmp_path / plain.file)[50, 50].astype(int) - 225).max() <= 2


def test_a_second_drawing_has_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        four(PaintedReader(), tmp_path / name)
    for file in ("overlay.png", "thumbnail.jpg", "classes.csv"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_set_without_places_is_counted_and_not_drawn(tmp_path):
    rows = pa.table(
        {
            **{name: pa.nulls(2, pa.int64()) for name in ("x_level0_px", "y_level0_px")},
            **{name: pa.nulls(2, pa.float64()) for name in ("width_level0_px", "height_level0_px")},
            "item": pa.array([0, 1]),
            "status": pa.array(["ok", "ok"]),
        }
    )
    rendering = draw(PaintedReader(), tmp_path, rows, scores([1, 1]))
    assert [artefact.file for artefact in rendering.artefacts] == ["classes.csv"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["classes.csv"]
    assert pyarrow.csv.read_csv(tmp_path / "classes.csv").column_names == [
        *("class", "tiles", "share")
    ]
    assert rendering.facts["Tiles analysed"] == "2"


def test_overlapping_tiles_are_voted_on_and_counted_once():
    rows = tiles([(0, 0), (50, 0)], 100, ["ok"] * 2)
    p = np.array([[0.6, 0.4, 0], [0.1, 0.9, 0]], np.float32)
    where = class_map(rows, p, (1000, 1000))
    assert where.areas_px().tolist() == [50 * 100, 100 * 100, 0, 0]
    assert where.on_picture((10, 20), (10, 10))[0].tolist() == [0] * 5 + [1] * 10 + [NOTHING] * 5


def test_a_readable_tile_wins_over_an_unreadable_one():
    where = class_map(tiles([(0, 0), (50, 0)], 100, ["ok", "lost"]), scores([2, None]), (500, 500))
    assert where.areas_px().tolist() == [0, 0, 100 * 100, 50 * 100]


def test_what_reaches_over_the_edge_has_no_area():
    where = class_map(tiles([(450, 480)], 100, ["ok"]), scores([0]), (500, 500))
    assert where.areas_px().tolist() == [50 * 20, 0, 0, 0]


@given(
    count=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    span=st.floats(3, 900),
    seed=st.integers(0, 99),
)
def test_areas_of_a_grid_add_up(count: tuple[int, int], span: float, seed: int) -> None:
    columns, rows = count
    places = [(int(c * span), int(r * span)) for r in range(rows) for c in range(columns)]
    classes = np.random.default_rng(seed).integers(0, 3, len(places)).tolist()
    where = class_map(tiles(places, span, ["ok"] * len(places)), scores(classes), (10**6, 10**6))
    whole = (int((columns - 1) * span) + span) * (int((rows - 1) * span) + span)
    # corners are rounded down: gaps of less than one pixel stay between neighbours
    assert whole * (1 - 1 / span) ** 2 <= where.areas_px().sum() <= whole + 1e-6
    picture = where.on_picture((rows, columns), (span, span))
    assert picture.ravel().tolist() == classes


@given(st.floats(1e-3, 1e6))
def test_a_scale_bar_is_a_round_number_and_fits(longest: float) -> None:
    length = nice_length(longest)
    assert length <= longest * (1 + 1e-6)
    assert length >= longest / 2.5 * (1 - 1e-6)
    assert f"{length:e}"[0] in "125"


def test_lengths_have_the_unit_that_reads_best():
    assert [length_name(um) for um in (0.5, 200, 1000, 5000)] == [
        *("0.5 µm", "200 µm", "1 mm", "5 mm")
    ]


def test_a_narrow_slide_still_has_room_for_its_legend():
    from histoscope.domains.pathology.canvas import Entry

    image = np.zeros((1600, 60, 3), np.uint8)
    names = [f"class with a long name, number {place}" * 4 for place in range(5)]
    canvas = with_strip(image, 4.0, [Entry(name, (9, 9, 9)) for name in names])
    assert canvas.width >= 640
    assert canvas.height > 1600 + 5 * 30


def test_a_real_slide_is_drawn_by_the_real_reader(
    coordinate_slide, open_one: Callable[..., Reader], tmp_path
):
    sampling = TileSampling(size_px=64, tile_mpp=1.0, min_tissue=0)
    with open_one(coordinate_slide.path, sampling) as reader:
        rows = reader.plan().rows
        rows = rows.append_column("status", pa.array(["ok"] * len(rows)))
        rendering = draw(reader, tmp_path, rows, scores([0] * len(rows)))
    kinds = [artefact.kind for artefact in rendering.artefacts]
    assert kinds == ["picture", "picture", "table", "data", "data"]
    table = pyarrow.csv.read_csv(tmp_path / "classes.csv").to_pydict()
    # neighbours part or overlap by less than a pixel of the 256 that a tile spans
    assert table["area_mm2"][0] == pytest.approx(len(rows) * 0.064**2, rel=0.01)


def test_a_cell_whose_tiles_agree_too_little_is_uncertain_and_has_its_area(tmp_path):
    rows = tiles([(0, 0), (100, 0), (200, 0), (250, 0)], 100, ["ok", "ok", "lost", "ok"])
    given = np.array([[0.9, 0.1, 0], [0.5, 0.3, 0.2], [np.nan] * 3, [0.1, 0.9, 0]], np.float32)
    where = class_map(rows, given, (WIDTH, HEIGHT), least=0.6)
    assert where.cells.tolist() == [[0, 3, 4, 1, 1]]  # the fourth lies under a lost one, too
    overlapping = tiles([(0, 0), (50, 0)], 100, ["ok", "ok"])
    apart = np.array([[0.8, 0.2, 0], [0.2, 0.8, 0]], np.float32)
    assert class_map(overlapping, apart, (500, 500), least=0.6).cells.tolist() == [[0, 3, 1]]
    answer = Answer(TASK, given, COLOURS, np.full(3, 0.5, np.float32), 0.6)
    source = Source("0" * 16, "a.svs", "input", "slide")
    marked = rows.append_column("mark", pa.nulls(4, pa.string()))
    results = Results(source, marked.append_column("key", pa.array(list("abcd"))), [answer])
    rendering = render(PaintedReader(), results, "level0", tmp_path)
    table = pa.csv.read_csv(tmp_path / "classes.csv").to_pydict()
    assert table["class"] == ["fat", "muscle", "gland", "uncertain"]
    assert table["tiles"] == [1, 1, 0, 1]
    assert table["area_mm2"] == [0.0025, 0.0025, 0, 0.0025]
    assert "Uncertain is where the best score is below 0.6" in rendering.artefacts[0].caption
    regions = json.loads((tmp_path / "regions.geojson").read_text())["features"]
    assert [one["properties"]["name"] for one in regions] == ["fat", "muscle", "uncertain"]
