"""Reflections and smoke: off by themselves, their formulas, and the surround stays black."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch

from histoscope.core.config import build
from histoscope.core.errors import ConfigError
from histoscope.core.randomness import generator
from histoscope.core.views.spec import ViewsSpec
from histoscope.domains.surgery import DOMAIN
from histoscope.domains.surgery.overlays import (
    GRID,
    MOST,
    Smoke,
    SmokeSpec,
    Specular,
    SpecularSpec,
    field_part,
)

SIDE = 40
KINDS = {"specular": (Specular, SpecularSpec), "smoke": (Smoke, SmokeSpec)}


def tissue(count=3, side=SIDE):
    """Noise without anything dark, (count, 3, side, side)."""
    rng = torch.Generator().manual_seed(1)
    return 0.3 + 0.5 * torch.rand(count, 3, side, side, generator=rng, dtype=torch.float64)


def drawn(operation, count=3):
    rows = [operation.draw(generator(0, "test", place)) for place in range(count)]
    assert all(row.shape == (operation.width,) and row.dtype == np.float32 for row in rows)
    return torch.from_numpy(np.stack(rows))


def plan_of(**domain):
    return DOMAIN.views(build(ViewsSpec, {"domain": domain}, "views"), SIDE)


def test_they_are_off_by_themselves_and_come_before_colours():
    names = [one.name for one in plan_of().operations]
    assert names == [one.name for one in plan_of(smoke={"p": 0}).operations]
    both = plan_of(smoke={"p": 0.3}, specular={"p": 0.2})
    assert [one.name for one in both.operations] == ["surgery/specular", "surgery/smoke", *names]


def test_they_change_no_other_draw():
    plain, both = plan_of(), plan_of(smoke={"p": 0.3}, specular={"p": 0.2})
    mine, its = (plan.draw(7, 1, 2, 0) for plan in (plain, both))
    assert np.array_equal(mine[0][0], its[0][0])
    assert np.array_equal(mine[1], its[1][-len(mine[1]) :])


@pytest.mark.parametrize("kind", KINDS)
def test_how_often_is_as_asked_and_rows_that_are_off_stay(kind):
    make, spec = KINDS[kind]
    numbers = drawn(make(spec(p=0.3)), 400)
    assert numbers[:, 0].mean().item() == pytest.approx(0.3, abs=0.07)
    images = tissue(20)
    made = make(spec(p=0.3)).apply(images, numbers[:20])
    off = numbers[:20, 0] == 0
    assert torch.equal(made[off], images[off])
    assert (made[~off] != images[~off]).flatten(1).any(1).all()
    never = make(spec(p=0))
    assert torch.equal(never.apply(images, drawn(never, 20)), images)
    assert 0 <= made.min() <= made.max() <= 1


def test_reflections_are_their_formula():
    operation = Specular(SpecularSpec(p=1, most=3, radius=(0.02, 0.1)))
    images, numbers = tissue(), drawn(operation)
    found = operation.apply(images, numbers)
    for place, row in enumerate(numbers.tolist()):
        spots = np.reshape(row[1:], (MOST, 6))
        assert 1 <= (spots[:, 5] > 0).sum() <= 3
        assert not spots[3:, 5].any()
        for y in range(0, SIDE, 3):
            for x in range(SIDE):
                light = 0.0
                for across, down, length, width, angle, strength in spots[:3]:
                    dx, dy = (x + 0.5) / SIDE - across, (y + 0.5) / SIDE - down
                    along = dx * math.cos(angle) + dy * math.sin(angle)
                    beside = dy * math.cos(angle) - dx * math.sin(angle)
                    d = math.hypot(along / length, beside / width)
                    light = max(light, strength * math.exp(-(d**4)))
                expected = [1 - (1 - v) * (1 - light) for v in images[place, :, y, x].tolist()]
                assert found[place, :, y, x].tolist() == pytest.approx(expected, abs=1e-9)


def test_reflections_are_small_and_white():
    operation = Specular(SpecularSpec(p=1, most=1, radius=(0.03, 0.03), longest=1))
    images, numbers = tissue(side=200), drawn(operation)
    numbers[:, 1:3] = 0.5
    more = (operation.apply(images, numbers) - images).amax(1)
    assert more.min() >= 0
    inside = (more > 0.05).flatten(1).double().mean(1)
    assert ((0.5 * math.pi * 0.03**2 < inside) & (inside < 3 * math.pi * 0.03**2)).all()


def test_smoke_is_its_formula_at_the_knots():
    """A grid of drawn numbers whose corners are those of the image."""
    operation = Smoke(SmokeSpec(p=1))
    side = 4 * (GRID - 1) + 1
    images, numbers = tissue(side=side), drawn(operation)
    found = operation.apply(images, numbers)
    for place, row in enumerate(numbers.tolist()):
        strength, grey, contrast = row[1:4]
        grid = np.reshape(row[4:], (GRID, GRID))
        for down in range(GRID):
            for across in range(GRID):
                share = strength * grid[down, across] ** contrast
                at = images[place, :, 4 * down, 4 * across].tolist()
                expected = [(1 - share) * value + share * grey for value in at]
                its = found[place, :, 4 * down, 4 * across].tolist()
                assert its == pytest.approx(expected, abs=1e-6)


def test_smoke_varies_slowly_and_as_strongly_as_drawn():
    spec = SmokeSpec(p=1, strength=(0.5, 0.5), grey=(0.8, 0.8))
    operation = Smoke(spec)
    flat = torch.full((6, 3, 120, 120), 0.3, dtype=torch.float64)
    dense = ((operation.apply(flat, drawn(operation, 6)) - 0.3) / 0.5)[:, 0]
    assert dense.min() >= -1e-6
    assert dense.max() <= 0.5 + 1e-6
    assert dense.diff(dim=1).abs().max() < 0.06  # a side has 120 px, a cell of noise 24
    assert (dense.amax((1, 2)) > 0.35).all()


def scoped(side=120, radius=0.42):
    """A bright disc in black with a dark instrument's shadow in it."""
    picture = np.zeros((side, side, 3), np.uint8)
    cv2.circle(picture, (side // 2, side // 2), int(radius * side), (150, 60, 50), -1)
    cv2.circle(picture, (side // 2, side // 2), side // 20, (0, 0, 0), -1)
    return torch.from_numpy(picture).permute(2, 0, 1)[None].double() / 255


def test_the_surround_stays_black_and_shadows_do_not():
    image = scoped()
    part = field_part(image)[0, 0]
    assert part[60, 60] == 1
    assert not part[:12, :12].any()
    assert not part[60, :4].any()  # a strip at the border, narrower than what is closed
    disc = (image[0].amax(0) > 0).double()
    assert ((part > 0.5) != (disc > 0)).double().mean() < 0.06
    for make, spec in KINDS.values():
        operation = make(spec(p=1))
        assert not operation.apply(image, drawn(operation, 1))[0, :, :12, :12].any()
    assert (field_part(tissue()) == 1).all()


@pytest.mark.parametrize(
    ("domain", "said"),
    [
        ({"stain": {"p": 1}}, "stain"),
        ({"smoke": {"p": 2}}, "smoke.p"),
        ({"specular": {"p": 1, "radius": [0.2, 0.1]}}, "low <= high"),
        ({"specular": {"p": 1, "most": MOST + 1}}, "most"),
    ],
)
def test_what_cannot_be_is_refused_with_the_key(domain, said):
    with pytest.raises(ConfigError, match=said) as fault:
        plan_of(**domain)
    assert len(str(fault.value).splitlines()) == 1
