"""The field of view: round, squashed, cut, or the whole picture."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from histoscope.domains.saliency import FIELD
from histoscope.domains.saliency.settings import FieldSpec
from tests.domains.saliency.painted import frames, pictures_of

MAKER = FIELD.make(FieldSpec(), lambda word, size_px: pytest.fail("no maps are needed"))
Mask = NDArray[np.bool_]


def scope(
    height: int, width: int, radius: float, level: int, count: int = 12
) -> tuple[list[NDArray[np.uint8]], Mask]:
    """Reddish noise in an ellipse, a noisy surround, and a line of lettering in it."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    inside = np.hypot((x + 0.5) / width - 0.5, (y + 0.5) / height - 0.5) < radius
    shots = []
    for _ in range(count):
        picture = rng.integers(level - 2, level + 3, (height, width, 3)).clip(0)
        picture[inside] = np.array((150, 60, 50)) + rng.integers(-40, 40, (int(inside.sum()), 3))
        picture[3:5, 3 : width // 8] = 220
        shots.append(picture.astype(np.uint8))
    return shots, inside


def overlap(one: Mask, two: Mask) -> float:
    return float((one & two).sum() / (one | two).sum())


@pytest.mark.parametrize(("height", "width"), [(108, 192), (64, 64), (300, 300)])
@pytest.mark.parametrize("radius", [0.35, 0.48, 0.6])
@pytest.mark.parametrize("level", [2, 18])
def test_a_round_field_is_found(height: int, width: int, radius: float, level: int):
    shots, inside = scope(height, width, radius, level)
    subjects = MAKER.of_source(shots)
    for mask in subjects.masks:
        assert overlap(mask, inside) > 0.94
    assert max(abs(value - level) for value in subjects.fill) <= 2


def test_the_field_of_the_phantom_is_found():
    shot = frames(1, (192, 108), 200)
    seen = np.mean([image.max(axis=2) for image, _ in shot], axis=0) > 20
    for mask in MAKER.of_source(pictures_of(shot)).masks:
        assert overlap(mask, seen) > 0.95


def test_without_a_surround_all_is_field():
    rng = np.random.default_rng(0)
    shots = [rng.integers(60, 200, (40, 60, 3), dtype=np.uint8) for _ in range(5)]
    assert all(mask.all() for mask in MAKER.of_source(shots).masks)


def test_black_frames_do_not_hide_the_field():
    shots, inside = scope(90, 120, 0.4, 3, count=4)
    some = [np.zeros_like(shots[0])] * 9 + shots
    assert all(overlap(mask, inside) > 0.94 for mask in MAKER.of_source(some).masks)


def test_the_margin_is_left_out():
    shots, inside = scope(100, 100, 0.4, 3)
    narrow = FIELD.make(FieldSpec(margin=0.1), MAKER.maps)
    (mask, *_) = narrow.of_source(shots).masks
    assert (mask.sum() / np.pi) ** 0.5 == pytest.approx((inside.sum() / np.pi) ** 0.5 - 10, abs=1.5)
