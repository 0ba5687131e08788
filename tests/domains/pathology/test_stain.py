"""Stain jitter against a float64 reference written as loops."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from histoscope.core.randomness import generator
from histoscope.domains.pathology import stain
from histoscope.domains.pathology.stain import HED, StainJitter, StainSpec

LIGHT, STRONG = (StainSpec.model_validate(name) for name in ("hed-light", "hed-strong"))


def drawn_for(jitter: StainJitter, count: int) -> torch.Tensor:
    rows = [jitter.draw(generator(0, "test/stain", place)) for place in range(count)]
    return torch.from_numpy(np.stack(rows))


def ramp(value: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (value - low) / (high - low)))


def tissue_part(density: list[float]) -> float:
    """How much of a pixel is tissue: not pale, or not grey as well."""
    mean, colour = sum(density) / 3, max(density) - min(density)
    return ramp(mean, 0.06, 0.15) * max(ramp(colour, 0.04, 0.08), ramp(mean, 0.25, 0.4))


def reference(pixel: NDArray[np.float64], row: NDArray[np.float64]) -> list[float]:
    """One pixel, RGB in 0..1: to stains, changed, and back."""
    stains = [[value / math.sqrt(sum(v * v for v in s)) for value in s] for s in HED]
    density = [-math.log(max(value, 1 / 255)) for value in pixel]
    amounts = np.linalg.solve(np.array(stains).T, density)
    changed = [amounts[s] * row[1 + s] + row[4 + s] for s in range(3)]
    mixed = [sum(changed[s] * stains[s][c] for s in range(3)) for c in range(3)]
    part = tissue_part(density)
    shares = [math.exp(-part * (mixed[c] - density[c])) for c in range(3)]
    return [min(1.0, max(0.0, pixel[c] * shares[c])) for c in range(3)]


@pytest.mark.parametrize("spec", [LIGHT, STRONG, StainSpec()], ids=["light", "strong", "default"])
def test_jitter_agrees_with_the_reference(spec: StainSpec) -> None:
    jitter = StainJitter(spec)
    images = torch.from_numpy(np.random.default_rng(0).random((3, 3, 4, 5)).astype(np.float32))
    images[:, :, 0] = 0.85 + 0.15 * images[:, :, 0]  # the edge between glass and tissue
    drawn = drawn_for(jitter, 3)
    found = jitter.apply(images, drawn).numpy()
    for place in range(3):
        for y in range(4):
            for x in range(5):
                pixel = images[place, :, y, x].double().numpy()
                expected = reference(pixel, drawn[place].double().numpy())
                assert found[place, :, y, x] == pytest.approx(expected, abs=1e-5)


def test_a_jitter_of_nothing_is_the_identity() -> None:
    jitter = StainJitter(StainSpec(sigma=0))
    images = torch.rand(4, 3, 8, 8)
    assert torch.allclose(jitter.apply(images, drawn_for(jitter, 4)), images, atol=1e-5)
    off = StainJitter(StainSpec(p=0))
    assert torch.equal(off.apply(images, drawn_for(off, 4)), images)


@pytest.mark.parametrize("spec", [STRONG, StainSpec(sigma=0.9, bias=0.9)], ids=["strong", "wild"])
def test_glass_stays_within_a_grey_value(spec: StainSpec) -> None:
    jitter = StainJitter(spec)
    for colour in [(255, 255, 255), (243, 240, 244), (250, 245, 235), (223, 220, 227)]:
        images = torch.tensor(colour).view(1, 3, 1, 1).expand(64, 3, 2, 2).float() / 255
        changed = jitter.apply(images, drawn_for(jitter, 64))
        assert (changed - images).abs().max() < 1 / 255


def test_pale_and_grey_is_no_tissue() -> None:
    density = np.random.default_rng(0).random((200, 3)) * 0.5
    expected = [tissue_part(pixel) for pixel in density.tolist()]
    found = stain.tissue_part(torch.from_numpy(-density.T[None]))
    assert found.flatten().numpy() == pytest.approx(expected, abs=1e-12)


def test_an_unknown_short_form_is_refused() -> None:
    with pytest.raises(ValueError, match="hed-light or hed-strong"):
        StainSpec.model_validate("hed-medium")


def test_every_image_of_a_batch_is_changed_differently() -> None:
    jitter = StainJitter(STRONG)
    pink = torch.tensor([0.8, 0.5, 0.7]).view(1, 3, 1, 1).expand(8, 3, 2, 2)
    colours = jitter.apply(pink, drawn_for(jitter, 8))[:, :, 0, 0]
    assert len({tuple(row) for row in colours.numpy().round(4).tolist()}) == 8


@pytest.mark.data
def test_real_tiles_stay_pictures_of_tissue(real_data: Path) -> None:
    folder = real_data / "pathology" / "sections"
    tile = np.asarray(Image.open(next(folder.glob("colon-tumour-224-*.png"))).convert("RGB"))
    images = (
        torch.from_numpy(tile.copy()).permute(2, 0, 1)[None].float().div(255).expand(6, -1, -1, -1)
    )
    jitter = StainJitter(LIGHT)
    changed = jitter.apply(images, drawn_for(jitter, 6))
    assert 0.002 < (changed - images).abs().mean() < 0.1
    assert changed.min() >= 0
    assert changed.max() <= 1
