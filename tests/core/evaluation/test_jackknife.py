"""Intervals of few cases against loops and closed forms."""

from itertools import product

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score

from histoscope.core.evaluation import metrics
from histoscope.core.evaluation.jackknife import jackknife, jackknife_ends, pseudo_values, sign_flip
from histoscope.core.evaluation.units import Units


def mean_of(values):
    """The mean over units, of each draw the same."""
    return lambda draw, weights: weights @ values / weights.sum(axis=1)


def test_of_a_mean_it_is_students_interval():
    values = np.random.default_rng(0).normal(0.3, 1, 12)
    found = jackknife(mean_of(values), 12, 1)
    expected = stats.ttest_1samp(values, 0)
    ends = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high))
    assert found.p == pytest.approx(expected.pvalue)
    assert pseudo_values(mean_of(values), 12, 1) == pytest.approx(values)


def test_one_case_is_left_out_at_a_time():
    rng = np.random.default_rng(1)
    truth, case = rng.integers(0, 2, 80), np.repeat(np.arange(8), 10)
    predicted = np.where(rng.random(80) < 0.7, truth, 1 - truth)
    units = Units.of([str(one) for one in case])
    weighted = metrics.balanced_accuracy(truth, predicted, units, 2)
    whole = balanced_accuracy_score(truth, predicted)
    without = [
        balanced_accuracy_score(truth[case != one], predicted[case != one]) for one in range(8)
    ]
    pseudo = [8 * whole - 7 * one for one in without]
    assert pseudo_values(lambda d, w: weighted(w), 8, 1) == pytest.approx(pseudo)
    found = jackknife(lambda d, w: weighted(w), 8, 1)
    half = stats.t.ppf(0.975, 7) * np.std(pseudo, ddof=1) / np.sqrt(8)
    assert (found.mean, found.high - found.mean) == pytest.approx((whole, half))


def test_draws_that_differ_make_it_wider():
    values, draws = np.random.default_rng(2).normal(size=10), np.array([-0.4, 0.1, 0.3])
    alone = jackknife(mean_of(values), 10, 1)
    found = jackknife(lambda d, w: mean_of(values)(d, w) + draws[d], 10, 3)
    of_cases, of_draws = values.var(ddof=1) / 10, draws.var(ddof=1) / 3
    square = of_cases * stats.t.ppf(0.975, 9) ** 2 + of_draws * stats.t.ppf(0.975, 2) ** 2
    assert found.high - found.mean == pytest.approx(square**0.5)
    assert found.high - found.low > alone.high - alone.low


def test_what_is_undefined_without_a_case_is_unknown():
    units = Units.of([str(place // 2) for place in range(12)])
    truth = np.r_[np.zeros(10, int), 1, 1]  # of one case only
    weighted = metrics.balanced_accuracy(truth, truth, units, 2)
    found = jackknife(lambda d, w: weighted(w), 6, 1)
    assert found.mean == 1
    assert np.isnan([found.low, found.high, found.p]).all()
    assert np.isnan(jackknife(mean_of(np.arange(4.0)), 4, 1).low)  # too few


def test_all_sign_flips_of_few_cases():
    values = np.array([0.3, 0.1, -0.05, 0.2, 0.4, 0.15])
    sums = [abs(np.dot(signs, values)) for signs in product((1, -1), repeat=6)]
    expected = np.mean([one >= abs(values.sum()) - 1e-12 for one in sums])
    p, least = sign_flip(values)
    assert p == pytest.approx(expected)
    assert least == 2 / 64
    assert sign_flip(np.full(5, 0.1)) == (2 / 32, 2 / 32)  # the least: no verdict from five
    assert sign_flip(np.zeros(6)) == (1, 2 / 64)


def test_drawn_sign_flips_are_near_all_of_them():
    values = np.random.default_rng(4).normal(0.35, 1, 20)
    p, least = sign_flip(values)
    assert p == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.02)
    assert least == 1 / 20_001
    assert sign_flip(values) == (p, least)
    assert np.isnan(sign_flip(np.array([0.1, np.nan]))).all()


def test_ends_of_a_metric_stay_within_its_range():
    rare = np.array([0.0, 0, 0, 0, 0, 0.2])
    found = jackknife(mean_of(rare), 6, 1)
    assert found.low < 0
    assert jackknife_ends(mean_of(rare), 6, 1, 6) == (0, found.high)
    assert jackknife_ends(mean_of(1 - rare), 6, 1, 6)[1] == 1
    assert np.isnan(jackknife_ends(mean_of(rare[:4]), 4, 1, 4)).all()
