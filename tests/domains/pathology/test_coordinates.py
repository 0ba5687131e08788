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
from tests.domains.pathology.reference import faults

SIDE = 64


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
    worst = faults(reader, coordinate_slide.levels, SIDE, 50)
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
    assert faults(open_one(tmp_path / "noise.tif", cut), levels, SIDE, 50).max() <= 0.51


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
