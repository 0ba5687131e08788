"""The control: as much, but elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from histoscope.core.contracts.masks import MASKS
from histoscope.core.errors import ConfigError, UsageError
from histoscope.domains.saliency import RANDOM, TISSUE
from histoscope.domains.saliency.settings import RandomSpec, TissueSpec
from tests.domains.saliency.painted import pictures_of, tissue_tiles


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MASKS, "load", {"tissue": TISSUE, "random": RANDOM}.__getitem__)


def made(like: str = "tissue", **settings: float):
    return RANDOM.make(RandomSpec(like=like, settings=settings), lambda word, size_px: None)


def test_each_mask_has_the_area_of_the_other_but_lies_elsewhere():
    tiles = tissue_tiles(0)
    like = TISSUE.make(TissueSpec(), None).of_source(pictures_of(tiles))
    subjects = made().of_source(pictures_of(tiles))
    differ = 0.0
    for one, two in zip(like.masks, subjects.masks, strict=True):
        assert one.sum() == two.sum()
        share = one.mean()
        if 0.2 < share < 0.8:  # by chance alone two such masks agree in half of their pixels
            differ = max(differ, float((one ^ two).mean()))
            assert (one ^ two).any()
    assert differ > 0.4
    assert subjects.fill == like.fill


def test_regions_hang_together():
    (image, _) = tissue_tiles(0)[9]
    from histoscope.domains.saliency.random import random_mask

    mask = random_mask(image, 2000, 0.125)
    borders = (mask[1:] ^ mask[:-1]).sum() + (mask[:, 1:] ^ mask[:, :-1]).sum()
    assert mask.sum() == 2000
    assert borders < 600  # scattered pixels would have some 4,000


def test_settings_are_the_other_providers():
    tiles = tissue_tiles(0)
    strict = made(stain=0.5).of_source(pictures_of(tiles))
    assert sum(mask.sum() for mask in strict.masks) < sum(
        mask.sum() for mask in made().of_source(pictures_of(tiles)).masks
    )
    with pytest.raises(ConfigError, match="did you mean 'stain'"):
        made(stains=0.5)


def test_a_control_of_itself_is_refused():
    with pytest.raises(UsageError, match="another provider"):
        made("random")


def test_other_images_have_other_regions():
    from histoscope.domains.saliency.random import random_mask

    one, two = (np.full((40, 40, 3), level, np.uint8) for level in (10, 11))
    assert (random_mask(one, 800, 0.125) != random_mask(two, 800, 0.125)).any()
