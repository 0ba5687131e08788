"""What calling samples uncertain buys, against counting by hand."""

import numpy as np

from histoscope.core.evaluation.doubt import BELOW, certain
from histoscope.core.evaluation.intervals import bootstrap
from histoscope.core.evaluation.units import Units
from tests.made import truth


def test_kept_and_right_are_counted_by_hand():
    score = np.array([0.99, 0.85, 0.62, 0.55, 0.93, 0.2], np.float32)
    scores = [np.stack([score, 1 - score], axis=1)]
    told = truth([0, 1, 0, 1, 0, 1])
    rows = certain(told, scores, Units.of(list("aabbcc")), bootstrap)
    best = np.maximum(score, 1 - score)
    good = np.array([1, 0, 1, 0, 1, 1], bool)
    for row, below in zip(rows, BELOW, strict=True):
        kept = best >= below
        assert row["below"] == below
        assert np.isclose(row["kept"]["value"], kept.mean())
        assert np.isclose(row["right"]["value"], good[kept].mean())


def test_where_nothing_is_kept_nothing_is_known():
    scores = [np.full((4, 2), 0.5, np.float32)]
    rows = certain(truth([0, 1, 0, 1]), scores, Units.of(list("aabb")), bootstrap)
    assert [row["kept"]["value"] for row in rows] == [0] * len(BELOW)
    assert [row["right"]["value"] for row in rows] == [None] * len(BELOW)
