"""Stretches of time, and where a model was least certain, against loops and by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from histoscope.core.labelling.course import (
    Doubt,
    Stretch,
    joined,
    least_certain,
    runs,
    without_short,
)


def spelt(stretches):
    """A letter a second, ``-`` where there is no label."""
    return "".join(
        (one.name or "-") * round(one.end_s - one.start_s) for one in stretches if one is not None
    )


def test_samples_of_one_name_are_one_stretch_and_gaps_are_no_label():
    names = ["a", "a", None, "b", "b"]
    found = runs(names, np.array([0.0, 1.0, 2.0, 3.0, 7.0]), 9.0)
    assert found == [
        Stretch(0.0, 2.0, "a"),
        Stretch(2.0, 3.0, None),
        Stretch(3.0, 9.0, "b"),
    ]


def test_before_the_first_sample_there_is_no_label():
    assert runs(["a"], np.array([2.0]), 3.0) == [Stretch(0.0, 2.0, None), Stretch(2.0, 3.0, "a")]


@pytest.mark.parametrize(
    ("before", "least_s", "after"),
    [
        ("aaaaabaaaa", 2, "aaaaaaaaaa"),
        ("aaaabbaaaa", 2, "aaaabbaaaa"),
        ("aaaabcccccc", 2, "aaaaccccccc"),
        ("aaaabcccc", 2, "aaaaacccc"),  # of two as long the one before
        ("abcdefgh", 100, "bbbbbbbb"),
        ("baaaa", 2, "aaaaa"),
        ("aaaab", 2, "aaaaa"),
        ("aaaab", 0, "aaaab"),
    ],
)
def test_short_stretches_join_the_longer_neighbour(before, least_s, after):
    stretches = joined([Stretch(n, n + 1.0, name) for n, name in enumerate(before)])
    assert spelt(without_short(stretches, least_s)) == after


def test_nothing_short_is_left_and_no_time_is_lost():
    random = np.random.default_rng(4)
    names = random.choice(["a", "b", "c", None], 200)
    found = without_short(runs(names.tolist(), np.arange(200.0), 200.0), 4.0)
    assert all(one.end_s - one.start_s >= 4 for one in found)
    assert all(one.name != other.name for one, other in pairwise(found))
    assert [one.end_s for one in found[:-1]] == [one.start_s for one in found[1:]]
    assert (found[0].start_s, found[-1].end_s) == (0.0, 200.0)


def test_the_least_certain_window_is_that_of_a_loop():
    random = np.random.default_rng(7)
    scores = random.dirichlet([1.0, 1.0, 1.0], 120)
    starts = np.cumsum(random.uniform(0.5, 2.0, 120)) - 0.5
    end_s, window_s = float(starts[-1] + 1), 15.0
    means = {}
    for start in starts:
        inside = (starts >= start) & (starts < start + window_s)
        if start + window_s <= end_s:
            means[float(start)] = float(scores[inside].max(axis=1).mean())
    wanted = min(means, key=means.get)
    found = least_certain(scores, "abc", starts, end_s, window_s=window_s, count=4)
    assert found[0].start_s == wanted
    assert found[0].confidence == pytest.approx(means[wanted], abs=1e-12)
    assert [one.confidence for one in found] == sorted(one.confidence for one in found)
    for one in found:
        assert all(one is two or abs(one.start_s - two.start_s) >= window_s for two in found)


def test_what_the_model_hesitates_between_is_named():
    scores = np.tile([0.98, 0.01, 0.01], (60, 1))
    scores[20:30] = [0.1, 0.5, 0.4]
    (found,) = least_certain(scores, "abc", np.arange(60.0), 60.0, window_s=10, count=1)
    assert found == Doubt(20.0, 30.0, pytest.approx(0.5), ("b", "c"))


def test_samples_that_could_not_be_read_do_not_count():
    scores = np.full((5, 2), np.nan)
    assert least_certain(scores, "ab", np.arange(5.0), 5.0, window_s=2, count=3) == []
    scores[1] = [0.7, 0.3]
    (found,) = least_certain(scores, "ab", np.arange(5.0), 5.0, window_s=2, count=3)
    assert (found.start_s, found.confidence) == (1.0, pytest.approx(0.7))


def test_a_source_shorter_than_the_window_is_one_window():
    scores = np.array([[0.6, 0.4], [0.8, 0.2]])
    (found,) = least_certain(scores, "ab", np.arange(2.0), 2.0, window_s=30, count=8)
    assert (found.start_s, found.end_s) == (0.0, 2.0)
    assert found.confidence == pytest.approx(0.7)
