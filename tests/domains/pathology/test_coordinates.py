"""Every tile lies where its coordinates say: at every level, scale and edge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from histoscope.core.contracts import Reader, Sample
from histoscope.domains.pathology.options import TileSampling

SIDE = 64


def mean_of(image: np.ndarray, x: float, y: float, width: float, height: float) -> np.ndarray:
    """Float64 area means of SIDE x SIDE parts of a rectangle, white outside of the image."""
    left, top = max(0, int(x) - 1), max(0, int(y) - 1)
    part = image[top : int(y + height) + 2, left : int(x + width) + 2].astype(np.float64)
    return _along(_along(part, y - top, height, 0), x - left, width, 1)


def _along(image: np.ndarray, start: float, extent: float, axis: int) -> np.ndarray:
    lines = np.moveaxis(image, axis, 0)
    total = np.concatenate([np.zeros((1, *lines.shape[1:])), lines.cumsum(axis=0)])
    edges = np.linspace(start, start + extent, SIDE + 1)
    over = np.clip(edges - len(lines), 0, None) * 255.0
    whole = np.minimum(edges.astype(int), len(lines) - 1)
    part = np.minimum(edges - whole, 1.0)[:, None, None]
    at_edges = total[whole] * (1 - part) + total[whole + 1] * part + over[:, None, None]
    return np.moveaxis(np.diff(at_edges, axis=0) / (extent / SIDE), 0, axis)


def faults(reader: Reader, levels: list[np.ndarray]) -> np.ndarray:
    """Greatest difference to the reference, one number a tile, and at most 60 tiles."""
    with reader:
        rows = reader.plan().rows
        step = max(1, len(rows) // 50)
        rows = rows.take([*range(0, len(rows), step), len(rows) - 1])
        level = levels[int(reader.facts["read_level"] or 0)]
        ratio = levels[0].shape[1] / level.shape[1], levels[0].shape[0] / level.shape[0]
        found = []
        for row, sample in zip(rows.to_pylist(), reader.read(rows), strict=True):
            assert isinstance(sample, Sample)
            assert sample.image.shape == (SIDE, SIDE, 3)
            wanted = mean_of(
                level,
                row["x_level0_px"] / ratio[0],
                row["y_level0_px"] / ratio[1],
                row["width_level0_px"] / ratio[0],
                row["height_level0_px"] / ratio[1],
            )
            found.append(np.abs(sample.image - wanted).max())
    return np.array(found)


@pytest.mark.parametrize(
    ("mpp", "level"), [(0.25, 0), (0.26, 0), (0.4321, 0), (0.51, 1), (0.75, 1), (1.02, 2), (1.7, 2)]
)
@pytest.mark.parametrize("partial", ["drop", "fill"])
def test_every_tile_is_right_at_every_scale_and_edge(
    coordinate_slide: Any, open_one: Callable[..., Reader], mpp: float, level: int, partial: Any
) -> None:
    cut = TileSampling(size_px=SIDE, tile_mpp=mpp, min_tissue=0, partial=partial)
    reader = open_one(coordinate_slide.path, cut)
    assert reader.facts["read_level"] == level
    worst = faults(reader, coordinate_slide.levels)
    # Level 0 is exact but for rounding. Elsewhere OpenSlide blends at a fraction of a pixel:
    # exact on a slope, off by a part of the slope (2 or 4 grey values a pixel) at its turn.
    assert worst.max() <= (0.51 if level == 0 else 2.6)


@pytest.mark.parametrize("mpp", [0.25, 0.5, 0.61])
def test_noise_is_read_exactly_where_levels_halve_exactly(
    tmp_path: Path, open_one: Callable[..., Reader], mpp: float
) -> None:
    draw = np.random.default_rng(1)
    levels = [draw.integers(0, 256, (n, 2 * n, 3), dtype=np.uint8) for n in (512, 256)]
    with tifffile.TiffWriter(tmp_path / "noise.tif") as out:
        for pixels in levels:
            out.write(
                pixels,
                tile=(128, 128),
                photometric="rgb",
                metadata=None,
                resolution=(40000, 40000),
                resolutionunit="CENTIMETER",
            )
    cut = TileSampling(size_px=SIDE, tile_mpp=mpp, min_tissue=0, partial="fill", stride_px=50)
    assert faults(open_one(tmp_path / "noise.tif", cut), levels).max() <= 0.51


def test_a_tiles_colour_is_that_of_its_place_at_level_0(
    coordinate_slide: Any, open_one: Callable[..., Reader]
) -> None:
    """Against the painted function itself, so that a level cannot be off as a whole."""
    for mpp in (0.25, 0.51, 1.02):
        off = []
        cut = TileSampling(size_px=SIDE, tile_mpp=mpp, min_tissue=0)
        with open_one(coordinate_slide.path, cut) as reader:
            rows = reader.plan().rows
            rows = rows.take(list(range(0, len(rows), max(1, len(rows) // 40))))
            for row, sample in zip(rows.to_pylist(), reader.read(rows), strict=True):
                assert isinstance(sample, Sample)
                x = row["x_level0_px"] + (np.arange(4096) + 0.5) / 4096 * row["width_level0_px"]
                y = row["y_level0_px"] + (np.arange(4096) + 0.5) / 4096 * row["height_level0_px"]
                wanted = [np.abs(np.mod(axis, 510) - 255).mean() for axis in (x, y)]
                off.append(np.abs(sample.image[:, :, :2].mean(axis=(0, 1)) - wanted))
        # painted values are rounded, by up to 0.5; a shift of one level-0 pixel would add 1
        assert np.mean(off) < 0.4
        assert np.max(off) < 0.8


def test_the_same_rows_are_the_same_pixels_in_any_order(
    coordinate_slide: Any, open_one: Callable[..., Reader]
) -> None:
    cut = TileSampling(size_px=SIDE, tile_mpp=0.75, min_tissue=0)
    with open_one(coordinate_slide.path, cut) as reader:
        rows = reader.plan().rows.slice(0, 12)
        forward = [sample.image for sample in reader.read(rows) if isinstance(sample, Sample)]
        back = [
            s.image for s in reader.read(rows.take([*range(11, -1, -1)])) if isinstance(s, Sample)
        ]
    assert all((one == other).all() for one, other in zip(forward, back[::-1], strict=True))
