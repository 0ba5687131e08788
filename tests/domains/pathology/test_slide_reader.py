from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from histoscope.core.contracts import Reader, Sample
from histoscope.core.errors import UnreadableSource
from histoscope.domains.pathology import DOMAIN
from histoscope.domains.pathology.options import TileSampling
from histoscope.domains.pathology.tiling import Grid
from histoscope.domains.pathology.tissue import tissue_mask, tissue_parts
from tests.benchmarks.alike import write_alike

CUT = TileSampling(size_px=64, tile_mpp=0.5)
TYPES = {"int64": pa.int64(), "float64": pa.float64(), "string": pa.string()}


def section(tissue: tuple[slice, slice] | None) -> np.ndarray:
    """Glass with a block of eosin-like colour."""
    draw = np.random.default_rng(0)
    image = np.full((512, 768, 3), 243.0)
    if tissue is not None:
        image[tissue] = (205, 120, 175)
    return np.clip(image + draw.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


def save(path: Path, image: np.ndarray) -> Path:
    Image.fromarray(image).save(path)
    return path


def test_tiles_are_planned_on_tissue_only(tmp_path: Path, open_one: Callable[..., Reader]) -> None:
    path = save(tmp_path / "a.png", section((slice(128, 384), slice(256, 512))))
    with open_one(path, CUT, default_mpp=0.5) as reader:
        plan = reader.plan()
    rows = plan.rows.to_pylist()
    places = [(row["x_level0_px"], row["y_level0_px"]) for row in rows]
    assert places == [(x, y) for y in range(128, 384, 64) for x in range(256, 512, 64)]
    assert all(row["tissue"] > 0.9 for row in rows)
    assert plan.reason == ""


def test_the_plan_has_the_locations_columns(
    tmp_path: Path, open_one: Callable[..., Reader]
) -> None:
    path = save(tmp_path / "a.png", section((slice(0, 512), slice(0, 768))))
    with open_one(path, CUT, default_mpp=0.5) as reader:
        rows = reader.plan().rows
    for wanted in DOMAIN.location:
        assert rows.schema.field(wanted.name).type == TYPES[wanted.type]
    assert len(set(rows.column("key").to_pylist())) == len(rows)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (section(None), "no tissue found"),
        (np.zeros((512, 768, 3), np.uint8), "label mask"),
        (np.full((512, 768, 3), (0, 0, 40), np.uint8), "dark picture"),
        (np.full((512, 60, 3), 200, np.uint8), "smaller than one tile"),
    ],
)
def test_an_empty_slide_is_a_result_with_a_reason(
    tmp_path: Path, open_one: Callable[..., Reader], image: np.ndarray, reason: str
) -> None:
    with open_one(save(tmp_path / "a.png", image), CUT, default_mpp=0.5) as reader:
        plan = reader.plan()
        assert len(plan.rows) == 0
        assert reason in plan.reason
        assert list(reader.read(plan.rows)) == []


def test_too_little_tissue_is_told_from_none(
    tmp_path: Path, open_one: Callable[..., Reader]
) -> None:
    path = save(tmp_path / "a.png", section((slice(120, 136), slice(100, 600))))
    with open_one(path, CUT, default_mpp=0.5) as reader:
        assert "no tile has enough tissue (at least 30%" in reader.plan().reason


def test_the_facts_say_where_the_scale_comes_from(
    tmp_path: Path, open_one: Callable[..., Reader]
) -> None:
    path = save(tmp_path / "a.png", section(None))
    (tmp_path / "mpp.csv").write_text("slide,mpp\na.png,0.25\n")
    with open_one(path, CUT, default_mpp=0.5) as reader:
        assert (reader.facts["mpp_x"], reader.facts["mpp_source"]) == (0.5, "default-mpp")
    with open_one(path, CUT, default_mpp=0.5, mpp_csv=tmp_path / "mpp.csv") as reader:
        assert (reader.facts["mpp_x"], reader.facts["mpp_source"]) == (0.25, "mpp-csv")


def test_a_picture_without_a_scale_is_refused(
    tmp_path: Path, open_one: Callable[..., Reader]
) -> None:
    path = save(tmp_path / "a.png", section(None))
    with pytest.raises(UnreadableSource, match="--default-mpp or --mpp-csv"):
        open_one(path, CUT)


def test_partial_tiles_are_filled_with_white(
    tmp_path: Path, open_one: Callable[..., Reader]
) -> None:
    image = np.full((100, 100, 3), 90, np.uint8)
    cut = TileSampling(size_px=64, tile_mpp=0.5, min_tissue=0, partial="fill")
    with open_one(save(tmp_path / "a.png", image), cut, default_mpp=0.5) as reader:
        samples = list(reader.read(reader.plan().rows))
    assert len(samples) == 4
    corner = samples[3]
    assert isinstance(corner, Sample)
    assert (corner.image[:36, :36] == 90).all()
    assert (corner.image[36:] == 255).all()
    assert (corner.image[:, 36:] == 255).all()


def test_the_tissue_part_is_exact_at_fractions_of_the_mask() -> None:
    mask = np.zeros((10, 10), np.bool_)
    mask[:, 5:] = True
    tiles = Grid(np.array([18, 40]), np.array([0, 0]), 10.0, 10.0)
    assert tissue_parts(mask, (4.0, 4.0), tiles) == pytest.approx([0.8, 0.0])


def test_unseen_area_is_no_tissue() -> None:
    image = section((slice(0, 512), slice(0, 768)))
    valid = np.zeros(image.shape[:2], np.bool_)
    assert not tissue_mask(image, valid).any()


def test_an_empty_slide_has_no_tissue_however_noisy() -> None:
    draw = np.random.default_rng(2)
    glass = np.clip(draw.normal(240, 4, (400, 400, 3)), 0, 255).astype(np.uint8)
    assert not tissue_mask(glass).any()


def test_reading_takes_no_memory_for_tiles_whose_turn_is_later(
    tmp_path: Path, open_one: Callable[..., Reader]
) -> None:
    path = tmp_path / "a.tif"
    write_alike(path, 20_000, 512, 3, np.full((512, 512, 3), (190, 90, 150), np.uint8))
    cut = TileSampling(size_px=64, tile_mpp=0.5)
    with open_one(path, cut) as reader:
        rows = reader.plan().rows
        assert len(rows) == 312**2
        tracemalloc.start()
        try:
            for _ in islice(reader.read(rows), 3):
                pass
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 4 * 2**20  # the places of all tiles as numbers of Python are three times that
