"""Which samples of a source are read together, in their order."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from histoscope.core.data.companions import Companions

RNG = np.random.default_rng(3)
SOURCES = RNG.choice(["b", "a", "c"], 60).tolist()
ORDER = RNG.integers(0, 9, 60).astype(float)  # some at one place
ORDER[::11] = np.nan
SOURCES[7], ORDER[7] = "alone", 4.0


def drawn(order=ORDER, count=4, seed=0, epoch=0, turn=0):
    companions = Companions(order, SOURCES, count, seed)
    return [companions.of(sample, epoch, turn).tolist() for sample in range(len(order))]


@pytest.mark.parametrize("count", [1, 2, 4, 12])
def test_they_are_of_one_source_at_other_places_in_their_order(count):
    for sample, group in enumerate(drawn(count=count)):
        there = [one for one in group if one >= 0]
        assert group == there + [-1] * (count - len(there))
        assert sample in there
        if not np.isfinite(ORDER[sample]):
            assert there == [sample]
            continue
        places = [ORDER[one] for one in there]
        assert places == sorted(set(places))
        assert {SOURCES[one] for one in there} == {SOURCES[sample]}
        mine = [o for s, o in zip(SOURCES, ORDER, strict=True) if s == SOURCES[sample]]
        assert len(there) == min(count, len({o for o in mine if np.isfinite(o)}))


def test_they_are_the_same_again_and_others_elsewhere():
    assert drawn() == drawn()
    for other in ({"seed": 1}, {"epoch": 1}, {"turn": 1}):
        assert drawn(**other) != drawn()


def test_each_of_the_source_comes():
    """Those at one place, too, and each about as often as the others at that."""
    companions = Companions(np.array([0.0, 1, 2, 2, 3]), ["a"] * 5, 3, 0)
    groups = np.stack([companions.of(0, epoch, 0) for epoch in range(600)])
    counts = np.bincount(groups.ravel(), minlength=5)
    assert counts[0] == 600
    assert np.allclose(counts[1:], [400, 200, 200, 400], atol=60)


def test_an_order_that_is_turned_round_turns_groups_round():
    for there, back in zip(drawn(), drawn(-ORDER), strict=True):
        assert all(ORDER[b] > ORDER[a] for a, b in pairwise(there) if b >= 0)
        assert all(ORDER[b] < ORDER[a] for a, b in pairwise(back) if b >= 0)


def test_who_has_any_is_counted():
    alone = sum(not np.isfinite(one) for one in ORDER) + 1
    assert Companions(ORDER, SOURCES, 1, 0).held == 60 - alone
    assert Companions(np.full(60, np.nan), SOURCES, 4, 0).held == 0
