"""Thresholds of classes that may be present together, where scores tell something and where not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from histoscope.core.learning.thresholds import (
    as_many_threshold,
    best_threshold,
    ranks,
    threshold_of,
)

SCORES = st.sampled_from([0.1, 0.2, 0.4, 0.7])


@given(st.lists(st.tuples(st.integers(0, 1), SCORES), min_size=2))
def test_the_best_threshold_is_that_of_trying_all(pairs):
    truth = np.array([truth for truth, _ in pairs])
    scores = np.array([score for _, score in pairs], np.float32)
    if not truth.any():
        truth[0] = 1
    cut = best_threshold(truth, scores)
    tries = [f1_score(truth, scores >= t) for t in (0.0, 0.15, 0.3, 0.5)]
    assert f1_score(truth, scores >= cut) == pytest.approx(max(tries))


@given(st.lists(st.tuples(st.integers(0, 1), SCORES), min_size=2))
def test_as_many_reach_the_threshold_as_show_the_class_or_as_nearly(pairs):
    truth, scores = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
    truth[:2] = 0, 1
    reached = (scores >= as_many_threshold(truth, scores)).sum()
    possible = [0, *((scores >= score).sum() for score in scores)]
    assert abs(reached - truth.sum()) == min(abs(one - truth.sum()) for one in possible)


def made(seed, share, apart, rows=300):
    """Truth, scores that are so far apart, and five folds."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(rows) < share).astype(np.int64)
    return truth, rng.normal(size=rows) + apart * truth, np.arange(rows) * 5 // rows


def test_scores_that_tell_take_the_threshold_of_the_best_f1():
    truth, scores, fold = made(0, 0.2, 2.0)
    assert threshold_of(truth, scores, fold) == (best_threshold(truth, scores), True)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_scores_by_chance_seldom_pass_as_telling_and_are_present_as_often_as_in_labels(share):
    told = []
    for seed in range(200):
        truth, scores, fold = made(seed, share, 0.0)
        cut, tells = threshold_of(truth, scores, fold)
        told.append(tells)
        if not tells:
            assert (scores >= cut).sum() == truth.sum()
    assert np.mean(told) < 0.1  # of 0.05, in 200 tries


def test_scores_the_wrong_way_round_tell_nothing():
    truth, scores, fold = made(0, 0.3, 2.0)
    assert not threshold_of(truth, -scores, fold).told


def test_what_tells_in_one_case_only_is_not_told_from_chance():
    truth, scores, fold = made(1, 0.3, 0.0)
    inside = fold == 0
    scores[inside] += 9 * truth[inside]
    assert not ranks(truth, scores, fold)
    assert ranks(truth, scores + 9 * truth, fold)


@pytest.mark.parametrize("folds", [1, 2])
def test_folds_without_both_sides_do_not_count(folds):
    truth, scores = np.array([1, 1, 0, 0] * 5), np.array([0.9, 0.8, 0.1, 0.2] * 5)
    fold = np.repeat(np.arange(5), 4)
    truth[folds * 4 :] = 0
    assert ranks(truth, scores, fold) is (folds == 2)
