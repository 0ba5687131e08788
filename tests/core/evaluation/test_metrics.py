"""Metrics and intervals against scikit-learn and against loops."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score

from histoscope.core.evaluation import intervals, metrics
from histoscope.core.evaluation.measure import measure, rarest
from histoscope.core.evaluation.units import Units
from tests.made import examples
from tests.made import truth as made_truth


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 200)
    scores = rng.random((200, 4)) + 0.7 * np.eye(4)[truth]
    probabilities = np.round(scores / scores.sum(1, keepdims=True), 2).astype(np.float32)  # ties
    return truth, probabilities


def again(units, row):
    """Samples of a resample, each as often as its unit."""
    return np.repeat(np.arange(len(units.place)), row[units.place].astype(int))


@pytest.mark.parametrize("size", [1, 10], ids=["samples", "cases"])
@pytest.mark.parametrize("table", [0, 10_000], ids=["by samples", "by units"])
def test_metrics_of_resamples_equal_scikit_learn_on_the_repeated_samples(
    case, monkeypatch, size, table
):
    monkeypatch.setattr(metrics, "TABLE", table)
    truth, probabilities = case
    predicted = probabilities.argmax(1)
    units = Units.of([str(n // size) for n in range(200)])
    weights = intervals.resamples(len(units), 1).weights[0][:6]
    balanced = metrics.balanced_accuracy(truth, predicted, units, 4)(weights)
    hits = metrics.accuracy(truth, predicted, units)(weights)
    areas = metrics.auc(truth, probabilities, units)(weights)
    precisions = metrics.average_precision((truth == 1).astype(int), probabilities[:, 1], units)(
        weights
    )
    for place, row in enumerate(weights):
        held = again(units, row)
        expected = balanced_accuracy_score(truth[held], predicted[held])
        assert balanced[place] == pytest.approx(expected)
        assert hits[place] == pytest.approx((truth[held] == predicted[held]).mean())
        each = [roc_auc_score(truth[held] == k, probabilities[held, k]) for k in range(4)]
        assert areas[place] == pytest.approx(np.mean(each))
        expected = average_precision_score(truth[held] == 1, probabilities[held, 1])
        assert precisions[place] == pytest.approx(expected)


def test_two_classes_use_the_second_as_positive(case):
    truth, probabilities = case
    truth, scores = truth % 2, probabilities[:, :2]
    ours = metrics.auc(truth, scores, Units.whole(200))(np.ones((1, 1)))[0]
    assert ours == pytest.approx(roc_auc_score(truth, scores[:, 1]))


def test_auc_of_one_class_alone_is_undefined():
    scores = np.full((4, 2), 0.5, np.float32)
    nothing = metrics.auc(np.zeros(4, int), scores, Units.whole(4))(np.ones((1, 1)))
    assert np.isnan(nothing[0])


def test_a_unit_is_resampled_with_all_its_samples():
    units = Units.of(["a", "a", "b", "c", "c", "c"])
    assert units.sums(np.arange(6)).tolist() == [1, 2, 12]
    found = intervals.resamples(3, 4)
    assert np.allclose(found.shares.sum(1), 1)
    came = np.concatenate(found.weights)
    assert (came.sum(1) == 3).all()
    assert len(np.unique(came, axis=0)) == len(came) == 10  # all that three can give
    assert len(found.which) == len(found.shares) == 10_000
    often = np.bincount(found.which, minlength=10) / 10_000
    ways = [6 / math.prod(math.factorial(int(n)) for n in row) for row in came]
    assert often == pytest.approx(np.array(ways) / 27, abs=0.015)
    spread = units.of_samples(came)
    assert (spread[:, 0] == spread[:, 1]).all()


def test_interval_over_cases_is_wider_than_over_samples():
    rng = np.random.default_rng(1)
    hits = np.repeat(rng.random(60) < 0.6, 50).astype(float)  # all right or all wrong in a case

    def width(names):
        units = Units.of(names)
        share = metrics.accuracy(np.ones(3000, int), hits.astype(int), units)
        low, high = intervals.resampled(lambda d, w: share(w), len(units), 1).ends
        return high - low

    assert width([str(n // 50) for n in range(3000)]) > 5 * width([str(n) for n in range(3000)])


@pytest.mark.parametrize("units", [5, 8, 30, 49])
def test_of_few_cases_the_interval_of_a_mean_is_students(units):
    values = np.random.default_rng(units).normal(size=units)

    def mean(draw, weights):
        return weights @ values / weights.sum(1)

    found = intervals.resampled(mean, units, 1).ends
    expected = stats.t.interval(0.95, units - 1, values.mean(), stats.sem(values))
    width = expected[1] - expected[0]
    assert np.subtract(found, expected) == pytest.approx(0, abs=0.08 * width)


def test_draws_are_resampled_beside_cases():
    """Draws that differ make the interval wider; draws that do not leave it."""
    cases = np.random.default_rng(0).normal(size=40)

    def width(draws):
        gap = intervals.resampled(lambda d, w: w @ cases / 40 + draws[d], 40, len(draws))
        return gap.ends[1] - gap.ends[0]

    alone = width(np.zeros(1))
    assert width(np.zeros(6)) == pytest.approx(alone)
    of_cases, of_draws = cases.var(ddof=1) / 40, np.tile([-1, 1], 3).var(ddof=1) / 6
    far = of_cases * stats.t.ppf(0.975, 39) ** 2 + of_draws * stats.t.ppf(0.975, 5) ** 2
    expected = 2 * np.sqrt(far)
    assert width(np.tile([-1, 1], 3)) == pytest.approx(expected, rel=0.08)


@pytest.mark.parametrize("draws", [2, 3, 5])
def test_of_few_draws_the_interval_is_students_over_draws_where_they_make_the_error(draws):
    """Two hundred cases that hardly differ: what is known is known from so many draws."""
    cases = np.random.default_rng(0).normal(size=200) * 1e-3
    shift = np.random.default_rng(draws).normal(size=draws)
    found = intervals.difference(lambda d, w: w @ cases / 200 + shift[d], 200, draws)
    expected = stats.ttest_1samp(shift + cases.mean(), 0)
    ends = expected.confidence_interval(0.95)
    width = ends.high - ends.low
    assert np.subtract((found.low, found.high), ends) == pytest.approx(0, abs=0.08 * width)
    assert found.p == pytest.approx(expected.pvalue, rel=0.35, abs=0.02)


def test_the_rarest_class_decides_how_much_is_known():
    """Of 30 cases 3 have a class: its part of the error has 2 degrees of freedom."""
    rng = np.random.default_rng(5)
    truth = np.r_[np.zeros(270, int), np.ones(30, int)]
    units = Units.of([f"{n % 30:02}" for n in range(270)] + [f"{n % 3:02}" for n in range(30)])
    said = np.where(rng.random(300) < 0.8, truth, 1 - truth)
    weighted = metrics.balanced_accuracy(truth, said, units, 2)
    assert rarest(made_truth(truth), units, "balanced_accuracy") == 3
    assert rarest(made_truth(truth), units, "accuracy") == 30

    def found(least):
        return intervals.resampled(lambda d, w: weighted(w) - 0.72, 30, 1, least)

    wide, plain = found(3), found(30)
    half = stats.t.ppf(0.975, 2) * np.nanstd(wide.values) * np.sqrt(3 / 2)
    assert wide.ends[1] - wide.ends[0] == pytest.approx(2 * half)
    assert wide.ends[1] - wide.ends[0] > 2 * (plain.ends[1] - plain.ends[0])
    assert wide.p > plain.p
    assert np.isnan(found(1).ends).all()
    assert np.isnan(found(1).p)


def test_where_all_cases_are_alike_nothing_is_known_of_others():
    found = intervals.difference(lambda d, w: np.full(len(w), 0.02), 20, 3)
    assert found.mean == pytest.approx(0.02)
    assert np.isnan([found.low, found.high, found.p]).all()


def test_a_paired_difference_resamples_both_sides_alike():
    noise = np.random.default_rng(3).normal(size=(2, 20))
    ours, theirs = (lambda d, w, n=n: w @ (noise[0] + 0.01 * n) / w.sum(1) for n in (noise[1], 0))
    found = intervals.difference(intervals.less(ours, theirs), 20, 3)
    assert found.mean == pytest.approx(0.01 * noise[1].mean())
    assert found.high - found.low < 0.05  # what both share is no part of it
    assert (found.units, found.draws) == (20, 3)


def test_the_difference_over_draws_is_the_paired_t_interval():
    rng = np.random.default_rng(2)
    ours, theirs = rng.random(10) + 0.1, rng.random(10)
    found = intervals.over_draws(ours, theirs)
    expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    with pytest.raises(ValueError, match="at least two"):
        intervals.over_draws([1.0], [0.5])


def test_confusion_counts():
    found = metrics.confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
    assert found.tolist() == [[1, 1], [0, 1]]


def test_a_resample_without_a_class_is_not_scored_on_the_others():
    """A model that always says the first class is right for a third."""
    truth = [0, 1] * 8 + [2]
    test = examples(truth, [f"case:{n // 2}" for n in range(16)] + ["case:7"])
    scores = np.tile(np.array([1, 0, 0], np.float32), (17, 1))
    found = measure(test, [scores], [])
    assert found["balanced_accuracy"]["value"] == pytest.approx(1 / 3)
    assert found["balanced_accuracy"]["interval"] == [None, None]  # c is of one case
    assert found["recall"]["a"]["interval"] == [None, None]  # every case alike
    assert found["recall"]["c"]["interval"] == [None, None]
    assert found["recall"]["c"]["value"] == 0


def test_a_mean_over_classes_present_together_keeps_its_classes():
    rng = np.random.default_rng(3)
    truth = np.stack([rng.integers(0, 2, 40), np.zeros(40, int), np.zeros(40, int)], axis=1)
    truth[:5, 1] = 1  # in one case of eight, and found perfectly
    scores = np.stack([rng.random(40), truth[:, 1], rng.random(40)], axis=1).astype(np.float32)
    units = [f"case:{n // 5}" for n in range(40)]
    found = measure(examples(truth, units), [scores], [[0.5, 0.5, 0.5]])
    one = found["average_precision"]["a"]
    assert found["mean_average_precision"]["value"] == pytest.approx((one["value"] + 1) / 2)
    assert found["mean_average_precision"]["interval"] == [None, None]  # b is of one case
    assert found["average_precision"]["b"]["interval"] == [None, None]
    assert found["average_precision"]["c"]["value"] is None


def test_one_unit_has_no_interval():
    found = intervals.resampled(lambda d, w: w.mean(axis=1), 1, 1)
    assert np.isnan(found.ends).all()


def test_fewer_than_five_units_have_no_interval():
    """Even the outermost resample, one unit n times, is not as far out as the interval."""
    for units, known in ((4, False), (5, True)):
        found = intervals.bootstrap(lambda d, w, n=units: w @ np.arange(n) / n**2, units, 1, units)
        assert np.isfinite(found).all() == known
        p = intervals.difference(lambda d, w, n=units: w @ np.arange(n) / n, units, 1).p
        assert np.isfinite(p) == known


@pytest.mark.parametrize("units", [7, 12, 30, 80])
def test_p_is_that_of_the_interval_which_ends_at_0(units):
    """As Student's t-test of the mean, and below 5 % where the interval leaves 0 out."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        values = rng.normal(0.1 * seed / np.sqrt(units) * 3, 1, units)
        found = intervals.difference(lambda d, w, v=values: w @ v / w.sum(1), units, 1)
        outside = found.low > 0 or found.high < 0
        assert outside == (found.p < 0.05) or abs(found.p - 0.05) < 0.004
        expected = stats.ttest_1samp(values, 0).pvalue
        if 0.002 < expected < 0.9:
            assert found.p == pytest.approx(expected, rel=0.35, abs=0.02)
