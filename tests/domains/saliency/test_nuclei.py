"""Regions rich in nuclei against what was painted, and on pieces of real shape."""

from __future__ import annotations

import numpy as np
import pytest

from histoscope.domains.saliency import NUCLEI
from histoscope.domains.saliency.settings import NucleiSpec
from tests.domains.saliency.painted import agreement, nuclei_tiles

MAKER = NUCLEI.make(NucleiSpec(), lambda word, size_px: pytest.fail("no maps are needed"))


@pytest.mark.parametrize("case", [0, 1])
def test_rich_regions_are_where_nuclei_were_painted_densely(case: int):
    overlap, _, _ = agreement(MAKER, nuclei_tiles(case))
    assert overlap >= 0.6


def test_eosin_alone_is_no_nucleus():
    tile = np.full((64, 64, 3), 242, np.uint8)
    tile[:, :40] = (225, 130, 180)  # eosin: hardly any red light is taken away
    tile[10:30, 10:30] = (100, 70, 150)
    (mask,) = MAKER.of_source([tile]).masks
    assert mask[14:26, 14:26].all()
    assert mask.sum() < 1.6 * 400
