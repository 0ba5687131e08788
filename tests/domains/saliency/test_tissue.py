"""Tissue against what was painted, and the glass of slides that show much, little or none."""

from __future__ import annotations

import numpy as np
import pytest

from histoscope.domains.saliency import TISSUE
from histoscope.domains.saliency.settings import TissueSpec
from tests.domains.saliency.painted import agreement, pictures_of, tissue_tiles

MAKER = TISSUE.make(TissueSpec(), lambda word, size_px: pytest.fail("no maps are needed"))


@pytest.mark.parametrize("case", [0, 1, 2])
def test_tissue_is_what_was_painted_as_tissue(case: int):
    overlap, _, _ = agreement(MAKER, tissue_tiles(case))
    assert overlap >= 0.9


def test_the_fill_is_the_glass_of_the_slide():
    tiles = tissue_tiles(1)
    fill = MAKER.of_source(pictures_of(tiles)).fill
    glass = np.median(np.concatenate([image[~truth] for image, truth in tiles]), axis=0)
    assert np.abs(np.array(fill) - glass).max() <= 4


def test_tiles_without_any_glass_are_tissue_and_filled_with_their_palest_tone():
    tiles = [(image, truth) for image, truth in tissue_tiles(0) if truth.all()]
    subjects = MAKER.of_source(pictures_of(tiles))
    assert np.mean([mask.mean() for mask in subjects.masks]) > 0.95
    assert min(subjects.fill) > 140


def test_grey_dust_and_black_pen_are_no_tissue():
    tile = np.full((64, 64, 3), 242, np.uint8)
    tile[10:30, 10:30] = 150
    tile[40:60, 40:60] = (25, 22, 24)
    (mask,) = MAKER.of_source([tile]).masks
    assert not mask.any()


def test_a_speck_is_left_out_and_a_pinhole_filled():
    tile = np.full((100, 100, 3), 242, np.uint8)
    tile[:, :50] = (200, 120, 180)
    tile[20:23, 20:23] = 242
    tile[50:54, 80:84] = (200, 120, 180)
    (mask,) = MAKER.of_source([tile]).masks
    assert mask[:, :48].all()
    assert not mask[:, 53:].any()
