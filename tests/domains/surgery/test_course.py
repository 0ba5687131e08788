"""Courses of made operations: what a clock knows of them, and that they keep their grammar."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from histoscope.domains.surgery.phantom.script import FIRST, NEXT, length_s, write_script
from histoscope.domains.surgery.phases import PHASES

SECONDS, SPREAD_S, FPS = 240, 90, 1
LEARNT, ASKED = range(100), range(100, 200)


@pytest.fixture(scope="module")
def courses() -> list[NDArray[np.int64]]:
    """Phases of 200 operations, second by second."""
    lasting = [length_s(0, operation, SECONDS, SPREAD_S) for operation in range(200)]
    return [write_script(0, n, lasts_s * FPS, FPS).phases for n, lasts_s in enumerate(lasting)]


def segments(phases: NDArray[np.int64]) -> list[int]:
    return phases[np.flatnonzero(np.diff(phases, prepend=-1))].tolist()


def by_the_clock(courses: list[NDArray[np.int64]], *, relative: bool) -> float:
    """Share of seconds that a table of phases by time names, of operations it has not seen."""

    def bins(phases: NDArray[np.int64]) -> NDArray[np.int64]:
        seconds = np.arange(len(phases))
        return seconds * 16 // len(phases) if relative else seconds // 15

    table = np.zeros((22, len(PHASES)))
    for place in LEARNT:
        np.add.at(table, (bins(courses[place]), courses[place]), 1)
    right = [table[bins(courses[place])].argmax(axis=1) == courses[place] for place in ASKED]
    return float(np.concatenate(right).mean())


@pytest.mark.parametrize("relative", [False, True])
def test_a_clock_names_little_more_than_the_most_frequent_phase(courses, relative):
    commonest = np.bincount(np.concatenate([courses[place] for place in ASKED])).max()
    share = commonest / sum(len(courses[place]) for place in ASKED)
    assert 0.2 < share < by_the_clock(courses, relative=relative) < 0.4


def test_lengths_of_operations_and_of_segments_differ_by_large_factors(courses):
    lengths = np.array([len(phases) for phases in courses])
    assert SECONDS - SPREAD_S <= lengths.min() < 1.2 * (SECONDS - SPREAD_S)
    assert 0.9 * (SECONDS + SPREAD_S) < lengths.max() <= SECONDS + SPREAD_S
    for phase in range(len(PHASES)):
        held = [np.count_nonzero(phases == phase) for phases in courses if phase in phases]
        tenth, most = np.quantile(held, [0.1, 0.9])
        assert most > 4 * tenth


def test_phases_are_left_out_and_come_again_but_follow_only_what_may_go_before(courses):
    walks = [segments(phases) for phases in courses]
    assert all(FIRST[walk[0]] > 0 for walk in walks)
    followed = {pair for walk in walks for pair in pairwise(walk)}
    assert followed == set(zip(*(places.tolist() for places in np.nonzero(NEXT)), strict=True))
    assert np.mean([len(set(walk)) < len(walk) for walk in walks]) > 0.5
    assert np.mean([len(set(walk)) < len(PHASES) for walk in walks]) > 0.5


def test_chances_sum_to_one():
    assert FIRST.sum() == pytest.approx(1)
    assert np.allclose(NEXT.sum(axis=1), 1)
