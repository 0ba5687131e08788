"""Evenly spaced images of a source, and masks as often as they are asked for."""

from __future__ import annotations

import numpy as np
import pytest

from histoscope.domains.saliency.stream import Each, measured


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 100, 1000])
def test_measured_images_are_evenly_spaced_from_the_first(count: int):
    images = [np.full((1, 1, 3), number % 251, np.uint8) for number in range(count)]
    kept = measured(images, lambda image: int(image[0, 0, 0]), 4)
    assert len(kept) == count if count <= 4 else 3 <= len(kept) <= 4
    steps = set(np.diff(kept) % 251)
    assert len(steps) <= 1
    assert not kept or kept[0] == 0


def test_a_mask_is_made_for_each_image_again_and_again():
    images = [np.full((2, 3, 3), number, np.uint8) for number in range(4)]
    masks = Each(images, lambda image: image[:, :, 0] > 1)
    for _ in range(2):
        assert [bool(mask.all()) for mask in masks] == [False, False, True, True]
