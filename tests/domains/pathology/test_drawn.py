"""What drawings say of tiles: which class covers half of one, and tiles between tiles."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from histoscope.domains.pathology.annotations.drawing import Drawing
from histoscope.domains.pathology.annotations.drawn import Drawn, classes_of, covered
from histoscope.domains.pathology.tiling import Box, Grid


def drawing(kind, *corners, number=1):
    return Drawing(number, "", kind, shapely.box(*corners))


def test_a_tile_takes_the_class_of_half_its_area():
    boxes = shapely.box([0, 10, 20], [0, 0, 0], [10, 20, 30], [10, 10, 10])
    found = classes_of(boxes, [drawing("a", 5, 0, 14.9, 10), drawing("b", 15, 0, 30, 10)])
    assert found.classes == ["a", "b", "b"]
    assert found.gained == [1, 2]
    short = classes_of(boxes, [drawing("a", 5.1, 0, 14.9, 10)])
    assert short.classes == [None, None, None]


def test_parts_of_one_class_are_taken_together_and_counted_once():
    boxes = shapely.box([0], [0], [10], [10])
    parts = [drawing("a", 0, 0, 3, 10), drawing("a", 2, 0, 5, 10), drawing("a", 0, 0, 2, 10)]
    found = classes_of(boxes, parts)
    assert found.classes == ["a"]
    assert sum(found.gained) == 1


def test_two_classes_with_equal_parts_are_unknown():
    boxes = shapely.box([0], [0], [10], [10])
    halves = [drawing("a", 0, 0, 5, 10), drawing("b", 5, 0, 10, 10)]
    assert classes_of(boxes, halves).classes == [None]


def test_the_innermost_drawing_counts():
    """A tumour in its tissue, necrosis in the tumour, an island of tissue in the necrosis."""
    left = np.arange(0, 70, 10)
    boxes = shapely.box(left, 0, left + 10, 10)
    tissue, tumour = drawing("tissue", 0, 0, 70, 10), drawing("tumour", 10, 0, 60, 10)
    necrosis, island = drawing("necrosis", 20, 0, 50, 10), drawing("tissue", 30, 0, 40, 10)
    told = ["tissue", "tumour", "necrosis", "tissue", "necrosis", "tumour", "tissue"]
    for drawings in ([tissue, tumour, necrosis, island], [island, necrosis, tumour, tissue]):
        found = classes_of(boxes, drawings, "rest")
        assert found.classes == told
        assert sorted(found.gained) == [1, 2, 2, 2]


def test_hands_that_cross_an_edge_a_little_draw_inside_all_the_same():
    boxes = shapely.box([0, 10], [0, 0], [10, 20], [10, 10])
    outer, crossing = drawing("outer", 0, 0, 20, 10), drawing("inner", 10, 0, 20.05, 10)
    assert classes_of(boxes, [outer, crossing]).classes == ["outer", "inner"]
    apart = drawing("inner", 10, 0, 25, 10)  # two thirds of it: beside, and equal parts are unknown
    assert classes_of(boxes, [outer, apart]).classes == ["outer", None]


def test_what_has_no_class_takes_nothing_from_what_it_lies_in():
    boxes = shapely.box([0], [0], [10], [10])
    assert classes_of(boxes, [drawing("a", 0, 0, 10, 10), drawing(None, 1, 1, 9, 9)]).classes == [
        "a"
    ]
    same = [drawing("a", 0, 0, 10, 10), drawing("b", 0, 0, 10, 10)]
    assert classes_of(boxes, same).classes == [None]


def test_the_rest_is_what_nobody_drew_on():
    boxes = shapely.box([0, 10, 20, 30], [0] * 4, [10, 20, 30, 40], [10] * 4)
    drawings = [drawing("a", 0, 0, 14, 10), drawing(None, 20, 0, 26, 10)]
    assert classes_of(boxes, drawings, "b").classes == ["a", "b", None, "b"]
    assert classes_of(boxes, drawings, "a").classes == ["a", "a", None, "a"]
    assert classes_of(boxes, [], "b").classes == ["b"] * 4
    assert classes_of(boxes, []).classes == [None] * 4


@given(st.lists(st.tuples(*[st.integers(0, 40)] * 4), min_size=1, max_size=6))
def test_areas_agree_with_counted_pixels(corners):
    parts = [shapely.box(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners]
    outline = shapely.union_all(parts)
    mask = np.zeros((40, 40), bool)
    for a, b, c, d in corners:
        mask[min(b, d) : max(b, d), min(a, c) : max(a, c)] = True
    x, y = np.meshgrid(np.arange(0, 40, 10), np.arange(0, 40, 10))
    boxes = shapely.box(x.ravel(), y.ravel(), x.ravel() + 10, y.ravel() + 10)
    counted = mask.reshape(4, 10, 4, 10).mean(axis=(1, 3)).ravel()
    assert covered(boxes, outline) == pytest.approx(counted)


def plan_rows(*corners):
    from tests.domains.pathology.test_geojson import rows

    return rows(corners, (10.0, 10.0)) if corners else rows([(0, 0)], (10.0, 10.0)).slice(0, 0)


WHOLE = Box(0, 0, 100, 100)


def extra(*drawings, rest_is=None, limit=WHOLE):
    tiles = Grid(np.zeros(0, np.int64), np.zeros(0, np.int64), 10.0, 10.0)
    drawn = Drawn(drawings, "tissue", rest_is)
    found = drawn.extra_tiles(plan_rows((0, 0), (10, 0), (0, 10), (10, 10)), tiles, limit)
    return list(zip(found.x_level0_px.tolist(), found.y_level0_px.tolist(), strict=True))


def test_a_drawing_between_tiles_gets_a_tile_in_its_middle():
    assert extra(drawing("a", 6, 6, 14, 14)) == [(5, 5)]
    assert extra(drawing("a", 6, 6, 14, 14), rest_is="b") == [(5, 5)]
    assert extra(drawing("a", 2, 2, 10, 10)) == []  # a tile of the grid has it
    assert extra(drawing("a", 8, 8, 12, 12)) == []  # too small for any
    assert extra(drawing(None, 6, 6, 14, 14)) == []
    twice = drawing("a", 6, 6, 14, 14), drawing("a", 6, 6, 14, 14.1)
    assert extra(*twice) == [(5, 5)]


def test_extra_tiles_stay_on_the_slide():
    assert extra(drawing("a", 92, 92, 100, 100)) == [(90, 90)]
    assert extra(drawing("a", 92, 92, 100, 100), limit=Box(0, 0, 8, 100)) == []
