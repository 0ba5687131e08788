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
from histoscope.domains.pathology.stain import HED, StainJitter, StainSpec

LIGHT, STRONG = StainSpec(sigma=0.05), StainSpec(sigma=0.2)


def drawn_for(jitter: StainJitter, count: int) -> torch.Tensor:
    rows = [jitter.draw(generator(0, "test/stain", place)) for place in range(count)]
    return torch.from_numpy(np.stack(rows))


def reference(pixel: NDArray[np.float64], row: NDArray[np.float64]) -> list[float]:
    """One pixel, RGB in 0..1: to stains, changed, and back."""
    stains = [[value / math.sqrt(sum(v * v for v in s)) for value in s] for s in HED]
    density = [-math.log(max(value, 1 / 255)) for value in pixel]
    amounts = np.linalg.solve(np.array(stains).T, density)
    changed = [amounts[s] * row[1 + s] for s in range(3)]
    mixed = [sum(changed[s] * stains[s][c] for s in range(3)) for c in range(3)]
    return [min(1.0, max(0.0, math.exp(-value))) for value in mixed]


@pytest.mark.parametrize("spec", [LIGHT, STRONG, StainSpec()], ids=["light", "strong", "default"])
def test_jitter_agrees_with_the_reference(spec: StainSpec) -> None:
    jitter = StainJitter(spec)
    images = torch.from_numpy(np.random.default_rng(0).random((3, 3, 4, 5)).astype(np.float32))
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
    images = torch.rand(4, 3, 8, 8).clamp_min(1 / 255)
    assert torch.allclose(jitter.apply(images, drawn_for(jitter, 4)), images, atol=1e-5)
    off = StainJitter(StainSpec(p=0))
    assert torch.equal(off.apply(images, drawn_for(off, 4)), images)


def test_clear_glass_stays_as_it_is() -> None:
    jitter = StainJitter(STRONG)
    clear = torch.ones(2, 3, 4, 4)
    assert torch.equal(jitter.apply(clear, drawn_for(jitter, 2)), clear)


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
