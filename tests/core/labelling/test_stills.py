"""Stills: when they are taken, and that no picture makes a page large."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from histoscope.core.contracts import CorruptSample
from histoscope.core.labelling.stills import (
    MOST,
    chosen_places,
    fitting_step,
    small_jpeg,
    take_stills,
)


@pytest.mark.parametrize(
    ("end_s", "sample_s", "step"),
    [(5, 1, 1), (480, 1, 1), (481, 1, 2), (2400, 1, 5), (10_800, 1, 30), (60, 7, 10), (9, 0.2, 1)],
)
def test_the_step_is_a_plain_number_that_keeps_to_the_most(end_s, sample_s, step):
    assert fitting_step(end_s, sample_s) == step
    assert end_s / step <= MOST


def test_a_step_for_a_week_still_keeps_to_the_most():
    assert 7 * 86400 / fitting_step(7 * 86400, 1) <= MOST


def test_stills_are_the_first_samples_at_or_after_each_multiple():
    starts = np.array([0.0, 1, 2, 3, 4, 5, 6, 17, 18, 19, 20])
    assert starts[chosen_places(starts, 5.0)].tolist() == [0, 5, 17, 20]


def test_one_bad_picture_is_left_out_and_told():
    good = np.full((30, 40, 3), 90, np.uint8)
    found = take_stills([good, CorruptSample("torn"), good], [0.0, 5.0, 10.0], 5.0)
    assert [one.at_s for one in found.shown] == [0.0, 10.0]
    assert list(found.missing) == [(5.0, "torn")]
    assert Image.open(io.BytesIO(found.shown[0].data)).size == (40, 30)
    assert found.lowered == 0


def test_a_picture_of_noise_is_made_to_fit():
    noise = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)
    data, quality = small_jpeg(noise, 28_000)
    assert len(data) <= 28_000
    assert quality < 82
    width, height = Image.open(io.BytesIO(data)).size
    assert width / height == pytest.approx(16 / 9, rel=0.02)
