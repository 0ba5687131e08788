from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import openslide
import pytest
import tifffile
from numpy.typing import NDArray

from histoscope.core.errors import DataError
from histoscope.core.randomness import generator
from histoscope.domains.pathology import DOMAIN
from histoscope.domains.pathology.options import PrepareOptions, ReadOptions, TileSampling
from histoscope.domains.pathology.phantom.sections import (
    CLASSES,
    CORRELATION,
    MEAN,
    SPREAD,
    level,
)
from histoscope.domains.pathology.phantom.slides import (
    PHANTOM_VERSION,
    TILE_MPP,
    TILE_PX,
    PhantomSize,
    phantom_hash,
    write_phantom,
)
from histoscope.domains.pathology.phantom.textures import TEXTURES, blur

SMALL = {"train": 2, "valid": 1, "test": 1, "new": 2, "side_px": 512}
# decoded pixels and labels of version 1, seed 0; a change needs a new version and new figures
SMALL_HASH = "e995d97d89a74a478e8def1d4137f286bc78d02b0916af66f3a0160b5705e5bf"
FULL_HASH = "3fa665df26dd23e522d5089def1e9987fee1b4e5fc779287f58ba26e29b6abab"
CASES = r"(case-\d+)_"


def picture(path: Path) -> NDArray[np.uint8]:
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), np.uint8)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom")
    write_phantom(out, 0, **SMALL)
    return out


def tiles(phantom: Path, split: str) -> Iterator[tuple[Path, str, str]]:
    """Path, class and case."""
    for path in sorted((phantom / "labelled" / split).rglob("*.png")):
        yield path, path.parent.name, path.name.split("_")[0]


def test_the_generator_is_frozen(phantom: Path) -> None:
    assert PHANTOM_VERSION == 1
    assert phantom_hash(phantom) == SMALL_HASH
    assert json.loads((phantom / "phantom.json").read_text())["sha256"] == SMALL_HASH


@pytest.mark.slow
def test_the_quoted_size_is_frozen(tmp_path: Path) -> None:
    write_phantom(tmp_path, 0)
    assert phantom_hash(tmp_path) == FULL_HASH


def test_another_seed_makes_another_phantom(tmp_path: Path) -> None:
    size = {"train": 1, "valid": 0, "test": 0, "new": 0, "side_px": 128}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_phantom(tmp_path / name, seed, **size)
    first, again, other = (phantom_hash(tmp_path / name) for name in "abc")
    assert first == again != other


def test_one_changed_pixel_or_label_changes_the_hash(tmp_path: Path) -> None:
    paths = write_phantom(tmp_path, 0, train=0, valid=1, test=0, new=0, side_px=384)
    before = phantom_hash(tmp_path)
    path = next(paths["labelled"].rglob("*.png"))
    pixels = picture(path)
    changed = pixels.copy()
    changed[5, 7, 1] ^= 1
    cv2.imwrite(str(path), changed)
    assert phantom_hash(tmp_path) != before
    cv2.imwrite(str(path), pixels)
    assert phantom_hash(tmp_path) == before
    relabelled = path.parent.with_name("other") / path.name
    relabelled.parent.mkdir()
    path.rename(relabelled)
    assert phantom_hash(tmp_path) != before


def test_a_written_phantom_is_found_and_another_is_refused(phantom: Path) -> None:
    stamp = (phantom / "phantom.json").stat().st_mtime_ns
    assert write_phantom(phantom, 0, **SMALL)["new"] == phantom / "new"
    assert (phantom / "phantom.json").stat().st_mtime_ns == stamp
    with pytest.raises(DataError, match="another phantom"):
        write_phantom(phantom, 1, **SMALL)


@pytest.mark.parametrize("part", ["unlabelled", "new"])
def test_openslide_reads_scale_levels_and_exact_pixels(phantom: Path, part: str) -> None:
    slides = sorted((phantom / part).glob("*.tif"))
    assert [path.stem[-5:] for path in slides] == ["lab-a", "lab-b"]
    for path in slides:
        with openslide.OpenSlide(path) as slide:
            side = SMALL["side_px"]
            assert slide.level_dimensions == tuple((side // n, side // n) for n in (1, 2, 4))
            for axis in "xy":
                mpp = float(slide.properties[f"openslide.mpp-{axis}"])
                assert mpp == pytest.approx(TILE_MPP)
            seen = np.asarray(slide.read_region((0, 0), 0, (side, side)))[..., :3]
        assert np.array_equal(seen, tifffile.imread(path, level=0))


def test_tiles_are_cut_from_the_slides(phantom: Path) -> None:
    found = 0
    for path, _, case in tiles(phantom, "train"):
        x, y = (int(number) for number in path.stem.split("_")[2].split("-"))
        (slide,) = (phantom / "unlabelled").glob(f"{case}_*.tif")
        cut = tifffile.imread(slide, level=0)[y : y + TILE_PX, x : x + TILE_PX]
        assert np.array_equal(picture(path)[..., ::-1], cut)
        found += 1
    assert found > 50


def test_no_case_is_on_two_sides(phantom: Path) -> None:
    cases = [{case for _, _, case in tiles(phantom, split)} for split in ("train", "valid", "test")]
    cases.append({path.name.split("_")[0] for path in (phantom / "new").glob("*.tif")})
    assert all(cases)
    assert len(set.union(*cases)) == sum(len(part) for part in cases)


def test_truth_of_new_slides_fits_their_pixels(phantom: Path) -> None:
    seen = set()
    for path in sorted((phantom / "new").glob("*.tif")):
        truth = picture(phantom / "new-truth" / f"{path.stem}.png")
        small = tifffile.imread(path, level=2)
        assert truth.shape == small.shape[:2]
        assert truth.max() <= len(CLASSES)
        inner = cv2.erode((truth > 0).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        outer = cv2.dilate((truth > 0).astype(np.uint8), np.ones((3, 3), np.uint8)) == 0
        green = small[..., 1].astype(float)
        assert green[outer].min() > 200 > green[inner].mean()
        seen |= set(np.unique(truth))
    assert len(seen) > 5


def test_the_domain_finds_classes_splits_and_cases(phantom: Path) -> None:
    options = PrepareOptions(layout="folders", mpp=TILE_MPP, case_regex=CASES)
    sampling = TileSampling(size_px=TILE_PX, tile_mpp=TILE_MPP)
    roots = {"input": phantom / "labelled"}
    (source,) = DOMAIN.find(roots, options)
    with DOMAIN.open(source, roots, sampling) as reader:
        plan = reader.plan()
    assert set(plan.rows.column("split").to_pylist()) == {"train", "valid", "test"}
    assert set(plan.rows.column("case").to_pylist()) == {f"case-{n:02d}" for n in range(4)}
    assert set(plan.labels["tissue"].values.to_pylist()) == set(CLASSES)


def test_the_tissue_detector_finds_the_new_slides(phantom: Path) -> None:
    options = ReadOptions(case_regex=CASES)
    roots = {"input": phantom / "new"}
    for source in DOMAIN.find(roots, options):
        with DOMAIN.open(source, roots, TileSampling(size_px=64, tile_mpp=1.0)) as reader:
            rows = reader.plan().rows
        assert source.case in ("case-04", "case-05")
        assert len(rows) > 20


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_has_the_same_moments_of_stain(name: str) -> None:
    inside = np.ones((384, 384), bool)
    rng = generator(0, f"test/{name}")
    stains = level(*TEXTURES[name](inside, rng), inside, rng)
    seen = np.stack([blur(stain, 0.8).ravel() for stain in stains])
    assert seen.mean(axis=1) == pytest.approx(MEAN, abs=0.01)
    assert seen.std(axis=1) == pytest.approx(SPREAD, abs=0.01)
    assert np.corrcoef(seen)[0, 1] == pytest.approx(CORRELATION, abs=0.05)


def test_the_quoted_size_has_enough_cases_of_both_laboratories() -> None:
    size = PhantomSize()
    assert (size.train, size.valid, size.test, size.new) == (14, 2, 6, 4)
