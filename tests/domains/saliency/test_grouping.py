"""The learned provider on maps whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from histoscope.core.errors import UsageError
from histoscope.domains.saliency import GROUPING
from histoscope.domains.saliency.grouping import cut
from histoscope.domains.saliency.settings import GroupingSpec
from tests.domains.saliency.painted import agreement, frames

Image = NDArray[np.uint8]


def colours(word: str, size_px: int):
    """Share of red, green and blue in the mean colour of each cell of 1/16 of the side."""

    def maps(images: Sequence[Image]) -> NDArray[np.float32]:
        stack = np.stack(images).astype(np.float32) / 255
        side = stack.shape[1] // 16
        mean = stack.reshape(len(stack), 16, side, 16, side, 3).mean(axis=(2, 4))
        return (mean / (0.05 + mean.sum(axis=3, keepdims=True))).transpose(0, 3, 1, 2)

    return maps


def made(**settings: Any):
    return GROUPING.make(GroupingSpec(encoder="colours", **settings), colours)


def scenes(count: int = 5) -> list[tuple[Image, NDArray[np.bool_]]]:
    """A grey disc in another place of a red ground each time."""
    rng = np.random.default_rng(0)
    out = []
    y, x = np.mgrid[:96, :128]
    for _ in range(count):
        centre = rng.uniform(30, 66, 2)
        truth = np.hypot(y - centre[0], x - centre[1] - 16) < 20
        image = np.where(truth[..., None], (150, 150, 155), (170, 60, 50))
        out.append(((image + rng.integers(-9, 10, image.shape)).astype(np.uint8), truth))
    return out


@pytest.mark.parametrize("side", ["rare", "apart"])
def test_a_disc_on_even_ground_is_found_to_the_pixel(side: str):
    overlap, _, _ = agreement(made(side=side), scenes())
    assert overlap > 0.9


def test_borders_follow_the_image_when_refined():
    coarse, fine = (agreement(made(refined=refined), scenes())[0] for refined in (False, True))
    assert fine > coarse


def test_painted_instruments_are_grouped_by_colour_alone():
    shot = [(image, truth) for image, truth in frames(0, (96, 96), 200) if truth.mean() > 0.03]
    overlap, _, _ = agreement(made(), shot)
    chance = np.mean([truth.mean() for _, truth in shot])
    assert overlap > 2 * chance


def test_a_map_without_two_groups_has_no_subject():
    same = np.ones((4, 10, 10), np.float32)
    noise = np.random.default_rng(0).standard_normal((64, 10, 10)).astype(np.float32)
    for features in (same, noise, 0 * same):
        assert cut(features, GroupingSpec(encoder="any")) is None


def test_the_cut_agrees_with_two_blocks_solved_by_hand():
    """Two groups without a join: the eigenvector is constant on each, of other sign."""
    features = np.zeros((2, 8, 8), np.float32)
    features[0, :, :5], features[1, :, 5:] = 1, 2
    score = cut(features, GroupingSpec(encoder="any"))
    assert score is not None
    assert (score[:, 5:] > 0).all()  # the longer features lie further from the source's mean
    assert (score[:, :5] < 0).all()
    assert np.ptp(score[:, :5]) == pytest.approx(0, abs=1e-6)


def test_a_coarse_map_is_refused_and_the_size_that_suits_is_named():
    def coarse(word: str, size_px: int):
        return lambda images: np.zeros((len(images), 3, size_px // 32, size_px // 32), np.float32)

    with pytest.raises(UsageError, match=r"4 x 4 at size_px 128.*size_px 256 gives 8 x 8"):
        GROUPING.make(GroupingSpec(encoder="coarse", size_px=128), coarse)
