"""Small tools for masks against what they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from histoscope.domains.saliency.shapes import guided, otsu, tidy


def test_otsu_agrees_with_its_definition():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 1, 600), rng.normal(5, 1, 300)]).astype(np.float32)
    found = otsu(values)

    def between(limit: float) -> float:
        low, high = values[values <= limit], values[values > limit]
        return len(low) * len(high) * float(high.mean() - low.mean()) ** 2

    best = max(between(float(limit)) for limit in np.linspace(-2, 7, 400))
    assert between(found) >= 0.999 * best


def test_otsu_of_equal_values_is_that_value():
    assert otsu(np.full(9, 0.5, np.float32)) == 0.5


def test_specks_go_and_pinholes_are_filled_but_large_parts_stay():
    mask = np.zeros((100, 100), np.bool_)
    mask[10:60, 10:60] = True
    mask[30:32, 30:32] = False
    mask[80:83, 80:83] = True
    wanted = np.zeros_like(mask)
    wanted[10:60, 10:60] = True
    assert (tidy(mask, 0.002) == wanted).all()


def test_the_guided_filter_agrees_with_its_equations():
    """He et al. 2010, equations 5, 6 and 8, as loops, away from the borders."""
    rng = np.random.default_rng(0)
    plane, guide = (rng.random((11, 11)).astype(np.float32) for _ in range(2))
    slopes, offsets = np.zeros((11, 11)), np.zeros((11, 11))
    for y in range(1, 10):
        for x in range(1, 10):
            window = (slice(y - 1, y + 2), slice(x - 1, x + 2))
            i, p = guide[window].astype(float), plane[window].astype(float)
            slopes[y, x] = ((i * p).mean() - i.mean() * p.mean()) / (i.var() + 0.01)
            offsets[y, x] = p.mean() - slopes[y, x] * i.mean()
    found = guided(plane, guide, 1, 0.01)
    for y in range(2, 9):
        for x in range(2, 9):
            window = (slice(y - 1, y + 2), slice(x - 1, x + 2))
            wanted = slopes[window].mean() * guide[y, x] + offsets[window].mean()
            assert found[y, x] == pytest.approx(wanted, abs=1e-5)
