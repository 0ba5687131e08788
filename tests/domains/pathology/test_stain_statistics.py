"""Stain-statistics augmentation, its fit to a store, and the command that writes it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from histoscope.core.config import build
from histoscope.core.errors import ConfigError, DataError
from histoscope.core.randomness import generator
from histoscope.domains.pathology.colour_spaces import SPACES
from histoscope.domains.pathology.stain import tissue_part
from histoscope.domains.pathology.stain_fit import fit_law, fit_statistics, from_mean_angle
from histoscope.domains.pathology.stain_statistics import (
    StainStatistics,
    StatisticsSpec,
    quantile,
    tissue_statistics,
)
from histoscope.domains.pathology.stain_views import PathologyViews
from tests.domains.pathology.test_colour_spaces import hed, hsv, lab
from tests.domains.pathology.test_stain import tissue_part as weight_of

RANGES = {
    "lab": {"mean": [[62, 6], [22, 4], [-16, 4]], "std": [[12, 2], [6, 1], [5, 1]]},
    "hsv": {"mean": [[0.85, 0.03], [0.35, 0.05], [0.8, 0.05]], "std": [[0.04, 0.02]] * 3},
    "hed": {"mean": [[0.35, 0.1], [0.5, 0.1], [0.1, 0.05]], "std": [[0.15, 0.05]] * 3},
}


def spec_of(space: str, **more: object) -> StatisticsSpec:
    return StatisticsSpec.model_validate(
        {"kind": "statistics", "space": space, **RANGES[space], **more}
    )


def drawn_for(made: StainStatistics, count: int) -> torch.Tensor:
    rows = [made.draw(generator(0, "test/statistics", place)) for place in range(count)]
    return torch.from_numpy(np.stack(rows))


def pink(count: int, side_px: int = 24, spread: float = 0.06) -> torch.Tensor:
    """Stained tiles with a strip of glass below."""
    rng = np.random.default_rng(1)
    colour = np.array([0.75, 0.5, 0.68])[:, None, None]
    images = np.clip(colour + rng.normal(0, spread, (count, 3, side_px, side_px)), 0, 1)
    images[:, :, -4:] = np.array([243, 240, 244])[:, None, None] / 255
    return torch.from_numpy(images.astype(np.float32))


def reference(
    image: NDArray[np.float64], row: NDArray[np.float64], space: str
) -> NDArray[np.float64]:
    """One image, RGB in 0..1, (3, pixels), pixel by pixel."""
    to = {"lab": lab, "hsv": hsv, "hed": hed}[space]
    count = image.shape[1]
    values = [to(image[:, place].tolist()) for place in range(count)]
    weights = []
    for place in range(count):
        density = [-math.log(max(v, 1 / 255)) for v in image[:, place]]
        weights.append(weight_of(density))
    moved = np.zeros((3, count))
    for channel in range(3):
        mine, total = [value[channel] for value in values], sum(weights)
        angle = space == "hsv" and channel == 0
        mean = sum(w * v for w, v in zip(weights, mine, strict=True)) / total
        if angle:
            east = sum(w * math.cos(math.tau * v) for w, v in zip(weights, mine, strict=True))
            north = sum(w * math.sin(math.tau * v) for w, v in zip(weights, mine, strict=True))
            mean = math.atan2(north, east) / math.tau % 1
        off = [(v - mean + 0.5) % 1 - 0.5 if angle else v - mean for v in mine]
        std = math.sqrt(sum(w * d * d for w, d in zip(weights, off, strict=True)) / total)
        gain = min(2.0, max(0.25, row[4 + channel] / std))
        moved[channel] = [row[1 + channel] + gain * d for d in off]
    back = SPACES[space].back(torch.from_numpy(moved[None]))[0].numpy()
    return image + np.array(weights) * (back - image)


@pytest.mark.parametrize("space", RANGES)
def test_it_agrees_with_the_reference(space):
    made, images = StainStatistics(spec_of(space)), pink(3, 12)
    drawn = drawn_for(made, 3)
    found = made.apply(images.double(), drawn.double())
    for place in range(3):
        row = drawn[place].double().numpy()
        expected = reference(images[place].flatten(1).double().numpy(), row, space)
        assert np.abs(found[place].flatten(1).numpy() - expected).max() < 1e-5
    single = made.apply(images, drawn)
    assert (single - found).abs().max() < 1e-4


@pytest.mark.parametrize("space", RANGES)
def test_the_tissue_takes_on_the_drawn_statistics(space):
    made, images = StainStatistics(spec_of(space)), pink(4)[:, :, :-4]
    target = SPACES[space]
    mean, std = tissue_statistics(
        target.forward(images.flatten(2)), torch.ones(4, 1, 480), target.circular
    )
    drawn = torch.cat([torch.ones(4, 1), mean.roll(1, 0), std.roll(1, 0)], dim=1)
    out = target.forward(made.apply(images, drawn).flatten(2))
    found = tissue_statistics(out, torch.ones(4, 1, 480), target.circular)
    assert torch.allclose(found[0], mean.roll(1, 0), atol=2e-2, rtol=1e-3)
    assert torch.allclose(found[1], std.roll(1, 0), atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize("space", RANGES)
def test_glass_stays_within_a_grey_value(space):
    images = pink(16)
    made = StainStatistics(spec_of(space))
    changed = made.apply(images, drawn_for(made, 16))
    assert (changed - images)[:, :, -4:].abs().max() < 1 / 255
    assert (changed - images)[:, :, :-4].abs().mean() > 0.01


@pytest.mark.parametrize("space", RANGES)
@pytest.mark.parametrize("level", [0.0, 0.97, 1.0])
def test_blank_and_black_tiles_stay_finite(space, level):
    noise = 0.003 * np.random.default_rng(0).standard_normal((2, 3, 16, 16))
    images = torch.from_numpy((level + noise).clip(0, 1).astype(np.float32))
    made = StainStatistics(spec_of(space))
    changed = made.apply(images, drawn_for(made, 2))
    assert torch.isfinite(changed).all()
    if level:
        assert torch.equal(changed, images)


def test_flat_tissue_does_not_turn_into_noise():
    images = pink(4, spread=0.004)[:, :, :-4]
    made = StainStatistics(spec_of("lab"))
    changed = made.apply(images, drawn_for(made, 4))
    assert (changed.std(dim=(2, 3)) < 4 * images.std(dim=(2, 3))).all()


def test_rows_that_are_off_stay_as_they_are():
    images, made = pink(4), StainStatistics(spec_of("lab", p=0))
    assert torch.equal(made.apply(images, drawn_for(made, 4)), images)


def test_every_image_of_a_batch_is_changed_differently():
    made = StainStatistics(spec_of("lab"))
    images = pink(1).expand(8, -1, -1, -1)
    colours = made.apply(images, drawn_for(made, 8)).mean(dim=(2, 3))
    assert len({tuple(row) for row in colours.numpy().round(4).tolist()}) == 8


def test_a_drawn_deviation_is_greater_than_zero():
    wide = spec_of("lab", std=[[1, 3]] * 3, std_laws=["normal", "laplace", "normal"])
    assert (drawn_for(StainStatistics(wide), 2000)[:, 4:] > 0).all()


def test_deviations_that_cannot_all_be_positive_are_the_usual_ones():
    apart = np.eye(6)
    apart[3, 4] = apart[4, 3] = -1
    odd = spec_of("lab", std=[[1e-6, 1], [1e-6, 1], [1, 0]], correlation=apart.tolist())
    drawn = drawn_for(StainStatistics(odd), 3)
    assert (drawn[:, 4:] > 0).all()


def test_each_channel_keeps_its_law():
    laws = ["normal", "laplace", "normal"]
    drawn = drawn_for(StainStatistics(spec_of("lab", mean_laws=laws)), 4000).double()
    for channel, (centre, sd) in enumerate(RANGES["lab"]["mean"]):
        values = (drawn[:, 1 + channel] - centre) / sd
        assert values.mean().abs() < 0.06
        assert values.std() == pytest.approx(1, abs=0.06)
        kurtosis = (values**4).mean() - 3  # 0 of a normal distribution, 3 of Laplace's
        assert (kurtosis > 1) == (laws[channel] == "laplace")


def test_the_drawn_numbers_correlate_as_fitted():
    rng = np.random.default_rng(0)
    wanted = np.corrcoef(rng.standard_normal((6, 6)) @ rng.standard_normal((6, 500)))
    wanted = np.round((wanted + wanted.T) / 2, 4)
    np.fill_diagonal(wanted, 1)
    spec = spec_of("lab", correlation=wanted.tolist(), mean_laws=["laplace", "normal", "normal"])
    found = np.corrcoef(drawn_for(StainStatistics(spec), 4000)[:, 1:].numpy().T)
    assert np.abs(found - wanted).max() < 0.07


def lognormal(centre: float, sd: float) -> tuple[float, float]:
    """Mean and standard deviation of the logarithm."""
    square = math.log(1 + (sd / centre) ** 2)
    return math.log(centre) - square / 2, math.sqrt(square)


@pytest.mark.parametrize(
    ("law", "numbers"),
    [
        ("normal", (40, 12)),
        ("laplace", (40, 12 / math.sqrt(2))),
        ("lognormal", lognormal(40, 12)),
    ],
)
def test_a_law_is_told_from_its_values_and_drawn_as_told(law, numbers):
    values = getattr(np.random.default_rng(0), law)(*numbers, 4000)
    centre, sd, found = fit_law(values)
    assert found == law
    assert centre == pytest.approx(40, abs=1)
    assert sd == pytest.approx(12, rel=0.05)
    scores = np.sort(np.random.default_rng(1).standard_normal(4000))
    drawn = np.array([quantile(score, (centre, sd), found) for score in scores.tolist()])
    inner = slice(40, -40)
    assert np.abs(drawn[inner] - np.sort(values)[inner]).max() < 6
    assert (np.diff(drawn) >= 0).all()


def test_hue_around_red_has_its_mean_at_red():
    around = np.remainder(np.random.default_rng(0).normal(0.99, 0.03, 2000), 1)
    middle, off = from_mean_angle(around)
    assert middle % 1 == pytest.approx(0.99, abs=0.005)
    assert off.std() == pytest.approx(0.03, rel=0.1)


@pytest.mark.parametrize("space", RANGES)
def test_a_fit_gives_back_what_the_images_were_made_with(space):
    made = StainStatistics(
        spec_of(
            space,
            std=[[s / 50, s / 500] for s in (50, 20, 20)]
            if space == "lab"
            else [[0.02, 0.002]] * 3,
        )
    )
    rng = np.random.default_rng(0)
    images = []
    for place in range(60):
        row = made.draw(generator(0, "test/fit", place)).astype(np.float64)
        values = row[1:4, None] + row[4:, None] * rng.standard_normal((3, 1024))
        rgb = SPACES[space].back(torch.from_numpy(values[None]))[0]
        images.append((rgb * 255).round().byte().view(3, 32, 32).permute(1, 2, 0).numpy())
    fitted, count = fit_statistics([*images, np.full((32, 32, 3), 245, np.uint8)], space)
    assert count == 60
    for (centre, sd), (true_centre, true_sd) in zip(fitted.mean, made.spec.mean, strict=True):
        assert centre == pytest.approx(true_centre, abs=true_sd)
        assert 0.5 < sd / true_sd < 2


def test_images_that_are_all_the_same_are_fitted_without_spread():
    image = (pink(1)[0].permute(1, 2, 0) * 255).byte().numpy()
    fitted, _ = fit_statistics([image] * 12, "hed")
    assert all(sd < 1e-6 for _, sd in (*fitted.mean, *fitted.std))
    assert set(fitted.mean_laws) == {"normal"}


def test_a_store_without_tissue_is_refused():
    flat = np.full((8, 8, 3), (200, 120, 180), np.uint8)
    with pytest.raises(DataError, match="without any contrast"):
        fit_statistics([flat] * 12, "hsv")
    with pytest.raises(DataError, match="3 images with tissue; at least 10"):
        fit_statistics([np.full((8, 8, 3), 120, np.uint8)] * 3, "lab")


@pytest.mark.parametrize(
    ("stain", "line"),
    [
        ("hed-medium", "stain: hed-medium: unknown; give hed-light or hed-strong"),
        ({"sigmaa": 1}, "stain.sigmaa: unknown key, did you mean 'sigma'?"),
        ({"kind": "statistic"}, "stain: the kind is hed or statistics"),
        (
            {"kind": "statistics", **RANGES["lab"], "spaces": "lab"},
            "stain.spaces: unknown key, did you mean 'space'?",
        ),
        (
            {"kind": "statistics", **RANGES["lab"], "std": [[0, 1]] * 3},
            "stain: the first number of each std must be greater than 0",
        ),
        (
            {"kind": "statistics", **RANGES["lab"], "mean_laws": ["lognormal"] * 3},
            "stain: a mean of the law lognormal must be greater than 0",
        ),
        (
            {"kind": "statistics", **RANGES["lab"], "correlation": np.eye(6)[::-1].tolist()},
            "stain: correlation must be symmetric, with 1 on its diagonal",
        ),
        (
            {"kind": "statistics", **RANGES["lab"], "correlation": (2 * np.eye(6) - 1).tolist()},
            "stain: no six numbers correlate as correlation says",
        ),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line(stain, line):
    with pytest.raises(ConfigError) as fault:
        build(PathologyViews, {"stain": stain}, "views.domain")
    assert str(fault.value).startswith(f"views.domain: {line}")
    assert "\n" not in str(fault.value)


def test_without_a_kind_it_is_hed_jitter():
    for given in ("hed-light", {"sigma": 0.1}, {"kind": "hed", "p": 0.5}, {"p": 0.5, "bias": 0.1}):
        assert build(PathologyViews, {"stain": given}, "a").stain.kind == "hed"
    assert build(PathologyViews, {}, "a").stain.kind == "hed"


@pytest.mark.data
@pytest.mark.parametrize("space", RANGES)
def test_real_tiles_stay_pictures_of_tissue(real_data: Path, space):
    import h5py

    file = real_data / "pathology" / "pcam" / "camelyonpatch_level_2_split_train_x.h5"
    with h5py.File(file) as opened:
        tiles = opened["x"][:64]
    fitted, count = fit_statistics(tiles, space)
    assert count > 50
    images = torch.from_numpy(tiles).permute(0, 3, 1, 2).float() / 255
    made = StainStatistics(fitted)
    changed = made.apply(images, drawn_for(made, len(images)))
    part = tissue_part(images.clamp_min(1 / 255).log().flatten(2))[:, 0]
    assert 0.005 < (changed - images).abs().mean() < 0.15
    assert (changed - images).abs().flatten(2).amax(dim=1)[part == 0].max() < 1 / 255
    greener = (changed[:, 1] > changed[:, [0, 2]].amax(dim=1) + 0.05).flatten(1) & (part > 0.5)
    assert greener.float().mean() < 0.01
