"""Every tile of every format that is written here is what its coordinates say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histoscope.core.contracts import Reader, Sample
from histoscope.domains.pathology.options import TileSampling
from histoscope.domains.pathology.readers.choose import open_pyramid
from histoscope.domains.pathology.readers.openslide_pyramid import OpenSlidePyramid
from histoscope.domains.pathology.scale import Scale
from histoscope.domains.pathology.slide_reader import SlideReader
from tests.domains.pathology.coded_canvases import DICOM, ON_CANVAS
from tests.domains.pathology.coded_slides import PLAIN, SIZE, STEP, Coded, Pixels, levels_of
from tests.domains.pathology.reference import faults

OpenOne = Callable[..., Reader]
FORMATS = PLAIN | ON_CANVAS | DICOM
MPP, SIDE = 0.25, 64
EXACT, JPEG = 0.51, 2.0  # grey values: rounding; and what JPEG makes of blocks of one colour
# what states both; lengths of Leica's are those of square pixels
TWO_SCALES = [
    "sparse TIFF",
    "ARGOS",
    "MIRAX",
    "DICOM",
    "Huron",
    "deflate",
    "JPEG 4:2:0",
    "Philips",
    "Trestle",
    "OME-TIFF",
    "strips of ImageJ",
]


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Coded, float]]:
    """Write a format once; with it how far from its code a tile may be."""
    made = dict[Any, tuple[Coded, float]]()

    def act(name: str, mpp_y: float = MPP) -> tuple[Coded, float]:
        if (name, mpp_y) not in made:
            kind, write = FORMATS[name]
            place = tmp_path_factory.mktemp("coded") / "slide"
            coded = write(place, levels_of(kind), (MPP, mpp_y))
            made[name, mpp_y] = coded, EXACT if kind == "pixels" else JPEG
        return made[name, mpp_y]

    return act


def opened(open_one: OpenOne, coded: Coded, **cut: Any) -> Reader:
    sampling = TileSampling(size_px=SIDE, min_tissue=0, **cut)
    return open_one(coded.path, sampling, allow_anisotropic=True, **coded.options)


@pytest.mark.parametrize(
    ("factor", "level", "cut"),
    [
        (1, 0, {"partial": "drop"}),
        (1, 0, {"partial": "fill", "stride_px": 50}),
        (2, 0, {"partial": "fill"}),
        (1.5, 0, {"partial": "drop", "stride_px": 75}),
        (STEP, 1, {"partial": "fill"}),
        (1.5 * STEP, 1, {"partial": "fill", "stride_px": 17}),
    ],
)
@pytest.mark.parametrize("name", FORMATS)
def test_every_tile_is_its_places_code(
    slide: Any, open_one: OpenOne, name: str, factor: float, level: int, cut: Any
) -> None:
    coded, most = slide(name)
    reader = opened(open_one, coded, tile_mpp=factor * MPP, **cut)
    assert reader.facts["read_level"] == min(level, len(coded.levels) - 1)
    worst = faults(reader, coded.levels, SIDE)
    assert len(worst) > 1
    assert worst.max() <= most


@pytest.mark.parametrize("name", FORMATS)
def test_scale_size_and_bounds_are_those_of_the_file(
    slide: Any, open_one: OpenOne, name: str
) -> None:
    coded, _ = slide(name)
    with opened(open_one, coded, tile_mpp=MPP) as reader:
        facts = reader.facts
        assert (facts["mpp_x"], facts["mpp_y"]) == pytest.approx((MPP, MPP))
        size = facts["width_level0_px"], facts["height_level0_px"]
        assert size == coded.levels[0].shape[1::-1]
        names = [f"bounds_{side}_level0_px" for side in ("x", "y", "width", "height")]
        assert tuple(facts[name] for name in names) == coded.scanned
        first = reader.plan().rows.slice(0, 1).to_pylist()[0]
        assert (first["x_level0_px"], first["y_level0_px"]) == coded.scanned[:2]


@pytest.mark.parametrize("tile_mpp", [0.3, 0.5, 4 * 0.3])
@pytest.mark.parametrize("name", TWO_SCALES)
def test_pixels_that_are_not_square_make_square_tiles(
    slide: Any, open_one: OpenOne, name: str, tile_mpp: float
) -> None:
    coded, most = slide(name, 0.3)
    reader = opened(open_one, coded, tile_mpp=tile_mpp, partial="fill")
    assert (reader.facts["mpp_x"], reader.facts["mpp_y"]) == pytest.approx((0.25, 0.3))
    row = reader.plan().rows.slice(0, 1).to_pylist()[0]
    spans = SIDE * tile_mpp / 0.25, SIDE * tile_mpp / 0.3
    assert (row["width_level0_px"], row["height_level0_px"]) == pytest.approx(spans)
    assert faults(reader, coded.levels, SIDE).max() <= most


FAST = [name for name in FORMATS if "JPEG" in name and "2000" not in name and name in PLAIN]
FAST = [*(name for name in FAST if name != "JPEG picture"), "Huron", "Philips"]


def photograph() -> list[Pixels]:
    """Smooth colours with noise, and a level that is its mean."""
    x, y = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    waves = np.stack([np.sin(x / 31), np.cos(y / 23), np.sin((x + y) / 47)], axis=2)
    noise = np.random.default_rng(0).normal(0, 6, waves.shape)
    large = np.clip(150 + 70 * waves + noise, 0, 255).astype(np.uint8)
    parts = large.reshape(SIZE[1] // STEP, STEP, SIZE[0] // STEP, STEP, 3)
    return [large, np.ascontiguousarray(parts.mean(axis=(1, 3)).astype(np.uint8))]


@pytest.mark.parametrize("name", FAST)
def test_tiles_read_from_the_files_own_are_those_of_openslide(tmp_path: Path, name: str) -> None:
    """To the grey value as they lie, within 2 where they are averaged."""
    coded = FORMATS[name][1](tmp_path / "slide", photograph(), (MPP, MPP))
    for factor, stride in ((1, None), (1, 50), (STEP, None), (2, 40), (1.5, 64), (6, 16)):
        cut = TileSampling(
            size_px=SIDE, min_tissue=0, tile_mpp=MPP * factor, stride_px=stride, partial="fill"
        )
        scale, theirs = Scale(MPP, MPP, "file"), OpenSlidePyramid(coded.path)
        ours = open_pyramid(coded.path)
        with SlideReader(ours, scale, cut) as one, SlideReader(theirs, scale, cut) as other:
            rows = one.plan().rows
            assert rows.equals(other.plan().rows)
            for own, known in zip(one.read(rows), other.read(rows), strict=True):
                assert isinstance(own, Sample)
                assert isinstance(known, Sample)
                off = np.abs(own.image.astype(int) - known.image).max()
                assert off <= (0 if factor in (1, STEP) else 2)
            assert (one.facts["reader"], other.facts["reader"]) == ("jpeg tiles", "openslide")
