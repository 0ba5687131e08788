"""Stain normalisation against float64 references, on bad input, and on both ways of reading."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis.strategies import integers, lists, sampled_from, tuples
from numpy.typing import NDArray
from PIL import Image

from histoscope.apps.cli import run
from histoscope.core.data.store import Store
from histoscope.core.files import read_table
from histoscope.domains.pathology.options import TileSampling
from histoscope.domains.pathology.stain_normalisation import (
    LAB_MEAN,
    LAB_STD,
    EachAlone,
    SlideStains,
    Unfit,
    fit,
    normalise,
    restained,
    spread,
)
from tests.domains.pathology.test_colour_spaces import lab
from tests.domains.pathology.test_one_road import make_package, tensors_of_both
from tests.domains.pathology.test_stain import tissue_part

WAYS = ("macenko", "reinhard")
HAEMATOXYLIN, EOSIN = (0.65, 0.70, 0.29), (0.10, 0.95, 0.30)


def section(side_px: int = 40, seed: int = 0, shade: float = 1.0) -> NDArray[np.uint8]:
    """Two stains in any mixture, with glass in the last quarter of the rows."""
    rng = np.random.default_rng(seed)
    amounts = shade * rng.gamma(2, 0.3, (side_px, side_px, 2))
    density = amounts @ np.array([HAEMATOXYLIN, EOSIN])
    light = 255 * np.exp(-density)
    light[-side_px // 4 :] = (243, 241, 244)
    return np.rint(light.clip(0, 255)).astype(np.uint8)


def blended(pixel: list[float], changed: list[float]) -> list[float]:
    """Tissue as changed, glass as it was, 0 to 255."""
    part = tissue_part([-math.log(max(v, 1) / 255) for v in pixel])
    return [v + part * (min(255.0, max(0.0, c)) - v) for v, c in zip(pixel, changed, strict=True)]


def macenko(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Pixel by pixel, each step as the paper has it."""
    pixels = picture.reshape(-1, 3).astype(float).tolist()
    densities = [[-math.log(max(v, 1) / 255) for v in pixel] for pixel in pixels]
    stained = [d for d in densities if min(d) >= 0.15]
    count = len(stained)
    mean = [sum(d[c] for d in stained) / count for c in range(3)]
    covariance = [
        [sum((d[i] - mean[i]) * (d[j] - mean[j]) for d in stained) / (count - 1) for j in range(3)]
        for i in range(3)
    ]
    vectors = np.linalg.eigh(np.array(covariance))[1]
    first, second = ([v if axis[0] > 0 else -v for v in axis] for axis in vectors.T[[2, 1]])
    angles = sorted(
        math.atan2(
            sum(a * b for a, b in zip(d, second, strict=True)),
            sum(a * b for a, b in zip(d, first, strict=True)),
        )
        for d in stained
    )
    ends = []
    for percent in (1, 99):
        angle = percentile(angles, percent)
        ends.append(
            [math.cos(angle) * a + math.sin(angle) * b for a, b in zip(first, second, strict=True)]
        )
    stains = np.array(sorted(ends, key=lambda end: -end[0]))

    def amounts(density: list[float]) -> NDArray[np.float64]:
        return np.linalg.lstsq(stains.T, np.array(density), rcond=None)[0]

    of_stained = [amounts(d) for d in stained]
    largest = [percentile(sorted(a[s] for a in of_stained), 99) for s in range(2)]
    reference = [(0.5626, 0.7201, 0.4062), (0.2159, 0.8012, 0.5581)]
    out = []
    for pixel, density in zip(pixels, densities, strict=True):
        h, e = (
            a * m / x for a, m, x in zip(amounts(density), (1.9705, 1.0308), largest, strict=True)
        )
        changed = [255 * math.exp(-(h * reference[0][c] + e * reference[1][c])) for c in range(3)]
        out.append(blended(pixel, changed))
    return np.array(out).reshape(picture.shape)


def percentile(ordered: list[float], percent: float) -> float:
    """Between the two nearest ranks, straight."""
    place = (len(ordered) - 1) * percent / 100
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def rgb_of(colour: list[float]) -> list[float]:
    """LAB to sRGB, 0 to 255, unclipped above."""
    y = (colour[0] + 16) / 116
    bent = [y + colour[1] / 500, y, max(0.0, y - colour[2] / 200)]
    parts = [b**3 if b > 0.2068966 else (b - 16 / 116) / 7.787 for b in bent]
    xyz = [part * white for part, white in zip(parts, (0.95047, 1.0, 1.08883), strict=True)]
    rows = [
        (0.412453, 0.357580, 0.180423),
        (0.212671, 0.715160, 0.072169),
        (0.019334, 0.119193, 0.950227),
    ]
    linear = np.linalg.solve(np.array(rows), np.array(xyz)).tolist()
    return [255 * (1.055 * v ** (1 / 2.4) - 0.055 if v > 0.0031308 else 12.92 * v) for v in linear]


def reinhard(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean and deviation of each LAB channel, pixels weighed by how much they are tissue."""
    pixels = picture.reshape(-1, 3).astype(float).tolist()
    weights = [tissue_part([-math.log(max(v, 1) / 255) for v in pixel]) for pixel in pixels]
    colours = [lab([v / 255 for v in pixel]) for pixel in pixels]
    total = sum(weights)
    moved = [[0.0] * 3 for _ in pixels]
    for c in range(3):
        mean = sum(w * colour[c] for w, colour in zip(weights, colours, strict=True)) / total
        squares = sum(
            w * (colour[c] - mean) ** 2 for w, colour in zip(weights, colours, strict=True)
        )
        for place, colour in enumerate(colours):
            gain = LAB_STD[c] / math.sqrt(squares / total)
            moved[place][c] = (colour[c] - mean) * gain + LAB_MEAN[c]
    out = [blended(p, rgb_of(m)) for p, m in zip(pixels, moved, strict=True)]
    return np.array(out).reshape(picture.shape)


@pytest.mark.parametrize(("way", "reference"), [("macenko", macenko), ("reinhard", reinhard)])
@pytest.mark.parametrize("seed", [0, 1])
def test_it_agrees_with_the_reference_before_rounding(way, reference, seed):
    picture = section(seed=seed)
    found = fit(way, picture)
    assert not isinstance(found, Unfit), found
    assert np.abs(restained(picture, found) - reference(picture)).max() < 1e-5


@pytest.mark.parametrize("way", WAYS)
def test_two_laboratories_become_alike(way):
    pale, dark = (section(96, seed=3, shade=shade) for shade in (0.7, 1.3))
    before = np.abs(pale.mean(axis=(0, 1)) - dark.mean(axis=(0, 1))).max()
    made = [normalise(picture, fit(way, picture)) for picture in (pale, dark)]
    after = np.abs(made[0].mean(axis=(0, 1)) - made[1].mean(axis=(0, 1))).max()
    assert after < before / 4


@pytest.mark.parametrize("way", WAYS)
def test_glass_stays_within_a_grey_value(way):
    for glass in [(255, 255, 255), (243, 240, 244), (223, 220, 227)]:
        picture = section()
        picture[-10:] = glass
        changed = normalise(picture, fit(way, picture)).astype(int)
        assert np.abs(changed - picture)[-10:].max() <= 1
        assert np.abs(changed - picture)[:-10].max() > 5


def noisy(colour: tuple[int, int, int], spread: float) -> NDArray[np.uint8]:
    noise = np.random.default_rng(0).normal(0, spread, (40, 40, 3))
    return np.rint(np.clip(np.array(colour) + noise, 0, 255)).astype(np.uint8)


def one_stain(stain: tuple[float, float, float]) -> NDArray[np.uint8]:
    amounts = np.random.default_rng(0).uniform(0.3, 1.5, (40, 40, 1))
    noise = np.random.default_rng(1).normal(0, 2, (40, 40, 3))
    return np.rint(np.clip(255 * np.exp(-amounts * stain) + noise, 0, 255)).astype(np.uint8)


@pytest.mark.parametrize(
    ("picture", "reasons"),
    [
        (np.full((40, 40, 3), 255, np.uint8), ["too little tissue"] * 2),
        (noisy((243, 241, 244), 0.8), ["too little tissue"] * 2),
        (np.zeros((40, 40, 3), np.uint8), ["one stain", "not haematoxylin and eosin"]),
        (noisy((200, 120, 180), 0.8), ["one stain", "flat"]),
        (one_stain((0.5626, 0.7201, 0.4062)), ["one stain", None]),
        (noisy((40, 60, 180), 6), ["not haematoxylin and eosin"] * 2),
        (one_stain((0.27, 0.57, 0.78)), ["one stain", "not haematoxylin and eosin"]),
        (section(8), ["too little tissue"] * 2),
    ],
    ids=["white", "glass", "black", "flat", "one stain", "blue pen", "DAB", "tiny"],
)
def test_what_cannot_be_fitted_stays_as_it_is_with_its_reason(picture, reasons):
    for way, reason in zip(WAYS, reasons, strict=True):
        found = fit(way, picture)
        if reason is None:
            assert not isinstance(found, Unfit)
        else:
            assert found == Unfit(reason)
            assert normalise(picture, found) is picture


@pytest.mark.parametrize("way", WAYS)
@given(
    colours=lists(tuples(*[integers(0, 255)] * 3), min_size=1, max_size=3),
    spread=integers(0, 60),
    side_px=sampled_from([1, 2, 12, 24]),
)
@settings(max_examples=60)
def test_no_picture_makes_it_fail(way, colours, spread, side_px):
    rng = np.random.default_rng(0)
    painted = np.array(colours)[rng.integers(len(colours), size=(side_px, side_px))]
    noise = rng.normal(0, spread, painted.shape)
    picture = np.rint(np.clip(painted + noise, 0, 255)).astype(np.uint8)
    changed = normalise(picture, fit(way, picture))
    assert changed.shape == picture.shape
    assert changed.dtype == np.uint8


def test_pictures_that_stay_are_counted_by_reason():
    each = EachAlone("macenko")
    for picture in (section(), section(seed=1), np.full((40, 40, 3), 250, np.uint8)):
        each(picture)
    assert each.summary() == "2 of 3 pictures fitted; left as they are: 1 too little tissue"


def test_a_slide_has_one_fit_on_tiles_spread_over_it():
    assert spread(5).tolist() == [0, 1, 2, 3, 4]
    assert spread(1000)[[0, -1]].tolist() == [0, 999]
    assert len(spread(1000)) == 32
    tiles = [section(seed=seed) for seed in range(3)]
    stains = SlideStains("macenko", tiles)
    pooled = fit("macenko", np.concatenate(tiles))
    assert stains.summary == "fitted on 3 tiles"
    assert (stains(tiles[0]) == normalise(tiles[0], pooled)).all()
    assert SlideStains("macenko", []).summary == "left as it is: no tile to fit"


def write_slide(path: Path, pixels: NDArray[np.uint8]) -> None:
    tifffile.imwrite(
        path,
        pixels,
        tile=(64, 64),
        photometric="rgb",
        compression="zlib",
        metadata=None,
        resolution=(1e4, 1e4),
        resolutionunit="CENTIMETER",
    )


@pytest.mark.parametrize("way", WAYS)
def test_prepare_and_predict_give_the_identical_tensor(way, tmp_path, open_one, monkeypatch):
    slide = tmp_path / "slide.tif"
    write_slide(slide, section(256, shade=0.8))
    plain = TileSampling(size_px=32, tile_mpp=1.5, min_tissue=0)
    cut = plain.model_copy(update={"stain_normalisation": way})
    evaluated, predicted = tensors_of_both(slide, cut, tmp_path, monkeypatch)
    assert torch.equal(evaluated, predicted)
    with open_one(slide, cut) as reader:
        some = reader.plan().rows.slice(3, 4)
        stained = np.stack([sample.image for sample in reader.read(some)])
        assert reader.facts["stain_fit"] == "fitted on 25 tiles"
    with open_one(slide, plain) as reader:
        assert "stain_fit" not in reader.facts
        found = np.stack([sample.image for sample in reader.read(some)])
    assert (stained != found).mean() > 0.3
    shown = torch.from_numpy(stained).permute(0, 3, 1, 2).float() / 255
    assert torch.equal(evaluated[3:7], shown)  # an encoder of colours has no normalisation


def manifest_facts(store: Path) -> list[dict[str, object]]:
    table = read_table(store / "manifest.parquet", "histoscope.manifest", 1)
    return [json.loads(text) for text in table.column("facts").to_pylist()]


def test_what_was_fitted_stands_in_the_manifest(tmp_path: Path):
    slides, cut = tmp_path / "slides", ("--tile-mpp", "1", "--size-px", "32", "--workers", "0")
    slides.mkdir()
    write_slide(slides / "a.tif", section(256))
    ink = np.full((256, 256, 3), 245, np.uint8)
    ink[32:224, 32:224] = np.tile(noisy((90, 30, 120), 4), (5, 5, 1))[:192, :192]
    write_slide(slides / "b.tif", ink)
    words = ["prepare", "--domain", "pathology", *cut, "--stain-normalisation", "macenko"]
    assert run([*words, str(slides), "--out", str(tmp_path / "store")]) == 0
    fitted, left = manifest_facts(tmp_path / "store")
    assert str(fitted["stain_fit"]).startswith("fitted on ")
    assert left["stain_fit"] == "left as it is: one stain"
    table = read_table(tmp_path / "store" / "manifest.parquet", "histoscope.manifest", 1)
    assert table.column("reason").to_pylist() == ["", "stain left as it is: one stain"]


def test_pictures_of_a_set_are_fitted_each_alone(tmp_path: Path):
    folder = tmp_path / "set" / "one"
    folder.mkdir(parents=True)
    pictures = [section(32, seed=seed) for seed in range(3)]
    for place, picture in enumerate([*pictures, np.full((32, 32, 3), 250, np.uint8)]):
        assert cv2.imwrite(str(folder / f"{place}.png"), picture[:, :, ::-1])
    cut = ("--layout", "folders", "--mpp", "1", "--tile-mpp", "1", "--size-px", "32")
    more = ("--workers", "0", "--encoding", "lossless", "--stain-normalisation", "reinhard")
    out = ("--out", str(tmp_path / "store"))
    words = ["prepare", str(tmp_path / "set"), "--domain", "pathology", *cut, *more, *out]
    assert run(words) == 0
    (facts,) = manifest_facts(tmp_path / "store")
    said = "3 of 4 pictures fitted; left as they are: 1 too little tissue"
    assert facts["stain_fit"] == said
    store = Store(tmp_path / "store")
    for picture, stored in zip(pictures, store.reader.images(range(3)), strict=True):
        assert (stored == normalise(picture, fit("reinhard", picture))).all()


def test_an_encoder_of_normalised_tiles_refuses_others(tmp_path, capsys):
    slide = tmp_path / "slide.tif"
    write_slide(slide, section(256))
    cut = TileSampling(size_px=32, tile_mpp=1, stain_normalisation="macenko")
    make_package(slide, cut, tmp_path / "first")
    other = TileSampling(size_px=32, tile_mpp=1)
    store, _, labels = make_package(slide, other, tmp_path / "second")
    words = ["evaluate", str(tmp_path / "first" / "package"), str(store.path)]
    more = ["--labels", str(labels), "--out", str(tmp_path / "e")]
    capsys.readouterr()
    assert run([*words, *more]) == 2
    said = capsys.readouterr().err
    assert "made with stain_normalisation macenko, but" in said
    assert "prepare the data with --stain-normalisation macenko" in said


@pytest.mark.data
@pytest.mark.parametrize("way", WAYS)
def test_real_tiles_are_fitted_and_stay_pictures_of_tissue(real_data: Path, way):
    file = real_data / "pathology" / "pcam" / "camelyonpatch_level_2_split_train_x.h5"
    with h5py.File(file) as opened:
        tiles = list(opened["x"][:60])
    each = EachAlone(way)
    changed = [each(tile) for tile in tiles]
    assert int(each.summary().split(" ")[0]) >= 50
    spread_of = [np.std([t.mean(axis=(0, 1)) for t in some], axis=0) for some in (tiles, changed)]
    assert (spread_of[1] < spread_of[0]).all()
    for picture in changed:
        green = picture[:, :, 1].astype(int) - picture[:, :, [0, 2]].max(axis=2)
        assert (green > 25).mean() < 0.02


@pytest.mark.data
@pytest.mark.parametrize(
    "name", ["ihc-field-1404.png", "ihc-field-1381.jpg", "marrow-giemsa-957.jpeg"]
)
@pytest.mark.parametrize("way", WAYS)
def test_other_stains_stay_as_they_are(real_data: Path, name, way):
    picture = np.asarray(Image.open(real_data / "pathology" / "sections" / name).convert("RGB"))
    assert fit(way, picture) == Unfit("not haematoxylin and eosin")
