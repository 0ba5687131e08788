"""Colour spaces against float64 references written as loops over pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from histoscope.domains.pathology.colour_spaces import HED, SPACES

CORNERS = [[r, g, b] for r in (0.0, 1.0) for g in (0.0, 1.0) for b in (0.0, 1.0)]
GREYS = [[level / 9] * 3 for level in range(10)]
PIXELS = np.concatenate(
    [CORNERS, GREYS, np.random.default_rng(0).random((200, 3)), [[0.03, 0.04, 0.0405]]]
)


def lab(pixel: list[float]) -> list[float]:
    linear = [((v + 0.055) / 1.055) ** 2.4 if v > 0.04045 else v / 12.92 for v in pixel]
    rows = [
        (0.412453, 0.357580, 0.180423),
        (0.212671, 0.715160, 0.072169),
        (0.019334, 0.119193, 0.950227),
    ]
    bent = []
    for row, white in zip(rows, (0.95047, 1.0, 1.08883), strict=True):
        part = sum(weight * value for weight, value in zip(row, linear, strict=True)) / white
        bent.append(part ** (1 / 3) if part > 0.008856 else 7.787 * part + 16 / 116)
    return [116 * bent[1] - 16, 500 * (bent[0] - bent[1]), 200 * (bent[1] - bent[2])]


def hsv(pixel: list[float]) -> list[float]:
    red, green, blue = pixel
    low, high = min(pixel), max(pixel)
    if low == high:
        return [0.0, 0.0, high]
    if high == red:
        sixth = (green - blue) / (high - low)
    elif high == green:
        sixth = 2 + (blue - red) / (high - low)
    else:
        sixth = 4 + (red - green) / (high - low)
    return [(sixth / 6) % 1, (high - low) / high, high]


def hed(pixel: list[float]) -> list[float]:
    lengths = [math.sqrt(sum(value * value for value in stain)) for stain in HED]
    unit = [[v / length for v in stain] for stain, length in zip(HED, lengths, strict=True)]
    density = [-math.log(max(value, 1 / 255)) for value in pixel]
    return np.linalg.solve(np.array(unit).T, density).tolist()


@pytest.mark.parametrize(("name", "reference"), [("lab", lab), ("hsv", hsv), ("hed", hed)])
def test_a_space_agrees_with_its_reference(name, reference):
    expected = np.array([reference(pixel) for pixel in PIXELS.tolist()])
    found = SPACES[name].forward(torch.from_numpy(PIXELS.T[None].copy()))
    assert np.abs(found[0].T.numpy() - expected).max() < 1e-5
    single = SPACES[name].forward(torch.from_numpy(PIXELS.T[None].astype(np.float32)))
    assert np.abs(single[0].T.numpy() - expected).max() < (5e-4 if name == "lab" else 1e-5)


@pytest.mark.parametrize("name", SPACES)
def test_there_and_back_is_the_identity(name):
    visible = PIXELS[(PIXELS >= 1 / 255).all(axis=1)]  # stain amounts do not tell darker ones apart
    given = torch.from_numpy(visible.T[None].astype(np.float32))
    assert (SPACES[name].back(SPACES[name].forward(given)) - given).abs().max() < 1e-5


def test_white_and_red_are_where_the_standards_have_them():
    colours = torch.tensor([[[1.0, 1.0], [1.0, 0.0], [1.0, 0.0]]], dtype=torch.float64)
    white, red = SPACES["lab"].forward(colours)[0].T
    assert white.tolist() == pytest.approx([100, 0, 0], abs=0.01)
    assert red.tolist() == pytest.approx([53.24, 80.09, 67.20], abs=0.02)


@pytest.mark.parametrize("name", SPACES)
def test_what_no_screen_shows_is_clipped_and_finite(name):
    wild = torch.tensor([[-50.0, 120.0, 5.0], [-300.0, 300.0, -2.0], [300.0, -300.0, 9.0]])
    back = SPACES[name].back(wild[None])
    assert torch.isfinite(back).all()
    assert back.min() >= 0
    assert back.max() <= 1
