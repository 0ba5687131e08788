"""Stretches of time, and where a model was least certain, against loops and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from histoscope.core.labelling.course import Doubt, Stretch, least_certain, runs


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
