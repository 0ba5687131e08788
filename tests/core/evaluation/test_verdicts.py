"""What may be said of a difference, and of many."""

import math

import numpy as np
import pytest

from histoscope.core.evaluation.verdicts import holm, verdict

UNKNOWN = math.nan


@pytest.mark.parametrize(
    ("low", "high", "p", "margin", "expected"),
    [
        (0.01, 0.05, 0.01, None, "better"),
        (-0.05, -0.01, 0.01, None, "worse"),
        (-0.01, 0.05, 0.2, None, "not told apart"),
        (0.01, 0.05, 0.06, None, "not told apart"),  # corrected for others
        (-0.01, 0.05, 0.04, None, "not told apart"),
        (-0.01, 0.015, 0.7, 0.02, "no larger difference"),
        (-0.01, 0.02, 0.7, 0.02, "not told apart"),  # the interval must lie inside
        (0.001, 0.015, 0.01, 0.02, "no larger difference"),  # there, and too small to matter
        (0.01, 0.05, 0.01, 0.02, "better"),
        (UNKNOWN, UNKNOWN, UNKNOWN, 0.02, "not told apart"),
    ],
)
def test_there_are_four_verdicts(low, high, p, margin, expected):
    assert verdict(low, high, p, margin) == expected


def by_loops(given):
    """Holm 1979: the smallest times their number, the next times one less, never falling."""
    out = {}
    for rank, at in enumerate(sorted(range(len(given)), key=lambda k: given[k])):
        here = (len(given) - rank) * given[at]
        out[at] = min(1.0, max([here, *out.values()]))
    return [out[k] for k in range(len(given))]


def test_holms_correction():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    given = np.random.default_rng(0).random(20) ** 3
    assert holm(given.tolist()) == pytest.approx(by_loops(given.tolist()))
    assert holm([]) == []
    assert holm([0.02]) == [0.02]
    found = holm([0.01, UNKNOWN, 0.02])  # what is unknown still was asked
    assert found[0] == pytest.approx(0.03)
    assert math.isnan(found[1])
    assert found[2] == pytest.approx(0.04)
