"""Intervals hold what is true as often as they say, and equals are seldom told apart."""

import pytest

from tests.benchmarks.coverage import coverage, null_flips, verdicts

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("cases", "least"), [(7, 0.90), (30, 0.92)])
def test_the_true_difference_is_inside(cases, least):
    found = coverage(cases, 10, 400)
    assert found["cases and draws"][0] >= least
    assert found["jackknife"][0] >= least
    assert found["draws alone"][0] < least  # the check can fail


def test_of_two_hundred_pairs_of_equals_few_are_called_better_or_worse():
    said = verdicts(200, 30)
    assert sum(one in ("better", "worse") for one in said) <= 16


def test_sign_flips_of_no_difference_are_seldom_rare():
    assert null_flips(400, 12, 5) <= 0.08
