"""Intervals hold what is true as often as they say, and equals are seldom told apart."""

import pytest

from tests.benchmarks.coverage import (
    called,
    coverage,
    equal_pairs,
    null_flips,
    null_folds,
    null_verdicts,
    rare_verdicts,
)

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("cases", "least"), [(7, 0.90), (30, 0.92)])
def test_the_true_difference_is_inside(cases, least):
    found = coverage(cases, 10, 400)
    assert found["cases and draws"][0] >= least
    assert found["jackknife"][0] >= least
    assert found["draws alone"][0] < least  # the check can fail


def test_of_two_hundred_pairs_of_equals_few_are_called_better_or_worse():
    assert sum(map(called, equal_pairs(200, 30))) <= 16


def test_few_draws_of_many_cases_tell_no_equals_apart():
    assert null_verdicts(100, 100, 2) <= 0.08


def test_a_class_of_few_cases_tells_no_equals_apart():
    by_class, by_cases = rare_verdicts(200, 20, 2)
    assert by_class <= 0.08
    assert by_cases > 0.15  # the check can fail


def test_folds_tell_no_equals_apart_which_sign_flips_alone_would():
    assert null_folds(400, 12, 5) <= 0.08
    assert null_flips(400, 12, 5) > 0.08  # they know nothing of draws
