"""Slides with a rare tissue are what their study was made on."""

import csv
import hashlib

import cv2
import numpy as np
import pytest

from histoscope.domains.pathology.phantom.sections import GLASS
from tests.phantoms.rare_tissue import (
    NUMBER,
    SHARES,
    TISSUE,
    holds_rare,
    paint,
    shares_of,
    slides_of,
    write_phantom,
)


def digest(section):
    told = hashlib.blake2b(section.pixels.tobytes() + section.truth.tobytes(), digest_size=16)
    return told.hexdigest()


def test_it_is_frozen():
    assert digest(paint(0, slides_of(range(1, 2))[0], 512)) == "d78cf37b07e47417c6fcfa99151ed139"


@pytest.mark.parametrize("case", [0, 1, 4, 9])
def test_slides_of_every_other_case_hold_a_little_of_the_rare_tissue(case):
    for slide in slides_of(range(case, case + 1)):
        truth = paint(0, slide, 768).truth
        read = shares_of(truth != GLASS) >= TISSUE
        held = (holds_rare(truth) & read).sum() / read.sum()
        assert (truth == NUMBER + 1).any() == bool(case % 2)
        assert SHARES[0] <= held <= SHARES[1] if case % 2 else not held


def test_more_stain_makes_the_rare_tissue_darker_and_nothing_else():
    (slide,) = slides_of(range(1, 2))
    plain, dark = paint(0, slide, 512), paint(0, slide, 512, stained=1.5)
    rare = plain.truth == NUMBER + 1
    assert np.array_equal(plain.truth, dark.truth)
    assert np.array_equal(plain.pixels[~rare], dark.pixels[~rare])
    assert dark.pixels[rare].mean() < plain.pixels[rare].mean() - 10


def test_what_is_written_says_whose_a_slide_is_and_what_it_holds(tmp_path):
    write_phantom(tmp_path, {"train": range(3, 5), "test": range(5, 6)}, side_px=512)
    with (tmp_path / "slides.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["slide"], row["case"], row["split"], row["label"]) for row in rows] == [
        ("case-003_0", "case-003", "train", "with"),
        ("case-004_0", "case-004", "train", "without"),
        ("case-004_1", "case-004", "train", "without"),
        ("case-005_0", "case-005", "test", "with"),
    ]
    for row in rows:
        truth = cv2.imread(str(tmp_path / "truth" / f"{row['slide']}.png"), cv2.IMREAD_GRAYSCALE)
        assert (truth == NUMBER + 1).any() == (row["label"] == "with")
        assert (tmp_path / "slides" / f"{row['slide']}.tif").is_file()
