from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histoscope.domains.pathology.resample import resample
from histoscope.domains.pathology.tiling import (
    Box,
    downsample,
    enclosing,
    grid,
    on_level,
    pick_level,
)

extents = st.integers(1, 5000)
scales = st.floats(0.1, 2.0)
sides = st.sampled_from([16, 64, 224])


@given(extents, extents, scales, scales, sides, st.integers(0, 700))
def test_dropped_grids_stay_inside_and_miss_less_than_a_step(
    width: int, height: int, mpp: float, wanted: float, side: int, origin: int
) -> None:
    tiles = grid(Box(origin, 0, width, height), (mpp, mpp), wanted, side, None, "drop")
    span = side * wanted / mpp
    if width < span or height < span:
        assert len(tiles.x_level0_px) == 0
        return
    assert tiles.x_level0_px.min() == origin
    assert tiles.x_level0_px.max() + span <= origin + width + 1e-6
    assert tiles.x_level0_px.max() + 2 * span > origin + width - 1
    assert tiles.y_level0_px.max() + span <= height + 1e-6


@given(extents, scales, scales, sides, st.integers(1, 300))
def test_filled_grids_cover_every_pixel(
    width: int, mpp: float, wanted: float, side: int, stride: int
) -> None:
    tiles = grid(Box(0, 0, width, 1), (mpp, mpp), wanted, side, stride, "fill")
    starts = np.unique(tiles.x_level0_px)
    step = stride * wanted / mpp
    assert starts[0] == 0
    assert starts[-1] < width
    assert starts[-1] + step + 1 >= width
    gaps = np.diff(starts)
    assert gaps.size == 0 or (gaps.max() <= step + 1 and gaps.min() >= step - 1)


@given(st.integers(300, 3000), st.integers(300, 3000))
def test_tiles_are_planned_row_by_row(width: int, height: int) -> None:
    tiles = grid(Box(0, 0, width, height), (0.5, 0.5), 0.5, 64, None, "fill")
    order = np.lexsort((tiles.x_level0_px, tiles.y_level0_px))
    assert (order == np.arange(len(order))).all()


def test_last_column_is_kept_when_it_just_fits() -> None:
    tiles = grid(Box(0, 0, 448, 224), (0.5, 0.5), 0.5, 224, None, "drop")
    assert tiles.x_level0_px.tolist() == [0, 224]


def test_a_span_of_unequal_pixels_differs_by_axis() -> None:
    tiles = grid(Box(0, 0, 4000, 4000), (0.25, 0.5), 0.5, 100, None, "drop")
    assert (tiles.width_level0_px, tiles.height_level0_px) == (200, 100)


@pytest.mark.parametrize(
    ("wanted", "level"), [(0.25, 0), (0.49, 0), (0.5, 1), (0.9, 1), (0.995, 2), (1.0, 2), (9.0, 3)]
)
def test_level_is_the_coarsest_that_is_fine_enough_within_one_percent(
    wanted: float, level: int
) -> None:
    sizes = [(4443, 3567), (2221, 1783), (1110, 891), (555, 445)]
    assert pick_level(sizes, (0.25, 0.25), wanted) == level


def test_the_coarser_axis_decides_the_level() -> None:
    assert pick_level([(1000, 1000), (500, 500)], (0.25, 0.3), 0.5) == 0


def test_downsample_comes_from_each_axis() -> None:
    assert downsample([(4443, 3567), (2221, 1783)], 1) == (4443 / 2221, 3567 / 1783)


@given(st.floats(0, 500), st.floats(0.5, 500), st.floats(1, 8))
def test_the_enclosing_box_holds_the_rectangle(x: float, extent: float, ratio: float) -> None:
    place = on_level(x, x, extent, extent, (ratio, ratio))
    box = enclosing(place)
    assert box.x <= place.x + 1e-5
    assert box.x + box.width >= place.x + place.width - 1e-5
    assert box.width <= place.width + 2


def integral_mean(
    image: np.ndarray, x: float, y: float, width: float, height: float, side: int
) -> np.ndarray:
    """Area means in float64 by another road: differences of the running sum."""
    total = np.zeros((image.shape[0] + 1, image.shape[1] + 1, 3))
    total[1:, 1:] = image.astype(np.float64).cumsum(0).cumsum(1)
    rows, columns = np.linspace(y, y + height, side + 1), np.linspace(x, x + width, side + 1)
    tall = np.stack(
        [
            np.stack(
                [np.interp(rows, np.arange(total.shape[0]), total[:, i, c]) for c in range(3)], 1
            )
            for i in range(total.shape[1])
        ],
        axis=1,
    )
    both = np.stack(
        [
            np.stack(
                [np.interp(columns, np.arange(total.shape[1]), tall[j, :, c]) for c in range(3)], 1
            )
            for j in range(side + 1)
        ]
    )
    return np.diff(np.diff(both, axis=0), axis=1) / (width * height / side**2)


@given(st.floats(0, 9), st.floats(0, 9), st.floats(9.6, 40), st.floats(9.6, 40), st.integers(0, 99))
def test_resampling_equals_a_float64_area_mean(
    x: float, y: float, width: float, height: float, seed: int
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (50, 50, 3), dtype=np.uint8)
    made = resample(image, x, y, width, height, (10, 10))
    assert np.abs(made - integral_mean(image, x, y, width, height, 10)).max() < 0.502


def test_a_tile_on_whole_pixels_is_untouched() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    assert (resample(image, 3, 5, 16, 16, (16, 16)) == image[5:21, 3:19]).all()
