"""Instruments against what was painted, at the sizes and in the shapes that stores hold."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from histoscope.domains.saliency import INSTRUMENTS
from histoscope.domains.saliency.settings import InstrumentsSpec
from tests.domains.saliency.painted import Painted, agreement, frames, pictures_of

MAKER = INSTRUMENTS.make(InstrumentsSpec(), lambda word, size_px: pytest.fail("needs no maps"))


@pytest.mark.parametrize("size", [(192, 108), (64, 64), (300, 168)], ids=str)
def test_instruments_are_where_tools_were_painted(size: tuple[int, int]):
    overlap, _, _ = agreement(MAKER, frames(0, size, 120))
    assert overlap >= 0.6


def test_red_tissue_with_glare_has_no_instrument():
    frame = np.full((120, 120, 3), (170, 60, 50), np.uint8)
    frame[40:44, 50:53] = 255
    (mask,) = MAKER.of_source([frame]).masks
    assert not mask.any()


def test_the_margin_takes_in_what_is_beside():
    shot = frames(1, (96, 96), 50)
    wide = INSTRUMENTS.make(InstrumentsSpec(margin=0.1), MAKER.maps)
    for one, two in zip(
        MAKER.of_source(pictures_of(shot)).masks,
        wide.of_source(pictures_of(shot)).masks,
        strict=True,
    ):
        assert not (one & ~two).any()
        assert not one.any() or two.sum() > one.sum()


@pytest.mark.data
def test_real_instruments_are_found(real_data: Path):
    """Operations of the valid part, on which nothing was chosen; three frames of each."""
    folder = real_data / "surgery" / "masks"
    with (folder / "frames.csv").open() as handle:
        rows = [row for row in csv.DictReader(handle) if row["split"] == "valid"]
    overlaps = []
    for operation in sorted({row["operation"] for row in rows}):
        shot: Painted = []
        for row in [row for row in rows if row["operation"] == operation][::2]:
            name = row["frame"]
            image = cv2.cvtColor(cv2.imread(str(folder / f"frames/{name}.jpg")), cv2.COLOR_BGR2RGB)
            label = cv2.imread(str(folder / f"labels/{name}.png"), cv2.IMREAD_GRAYSCALE)
            shot.append((np.asarray(image, np.uint8), np.asarray(label == 6)))
        overlaps.append(agreement(MAKER, shot)[0])
    assert np.mean(overlaps) >= 0.35
