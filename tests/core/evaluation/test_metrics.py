"""Metrics and intervals against scikit-learn and against loops."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from histoscope.core.evaluation import metrics
from histoscope.core.evaluation.intervals import (
    bootstrap_interval,
    paired_difference,
    unit_resamples,
)
from histoscope.core.evaluation.measure import measure
from tests.made import examples


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 200)
    scores = rng.random((200, 4)) + 0.7 * np.eye(4)[truth]
    probabilities = np.round(scores / scores.sum(1, keepdims=True), 2).astype(np.float32)  # ties
    return truth, probabilities


def test_weighted_metrics_equal_scikit_learn_on_the_repeated_samples(case):
    truth, probabilities = case
    predicted = probabilities.argmax(1)
    weights = next(unit_resamples([str(n) for n in range(200)], 5))
    for row in weights:
        again = np.repeat(np.arange(200), row.astype(int))
        ours = metrics.balanced_accuracy(truth, predicted, row[None], 4)[0]
        assert ours == pytest.approx(balanced_accuracy_score(truth[again], predicted[again]))
        ours = metrics.auc(truth, probabilities, row[None])[0]
        theirs = np.mean(
            [roc_auc_score(truth[again] == k, probabilities[again, k]) for k in range(4)]
        )
        assert ours == pytest.approx(theirs)


def test_two_classes_use_the_second_as_positive(case):
    truth, probabilities = case
    truth, scores = truth % 2, probabilities[:, :2]
    ours = metrics.auc(truth, scores, np.ones((1, 200)))[0]
    assert ours == pytest.approx(roc_auc_score(truth, scores[:, 1]))


def test_auc_of_one_class_alone_is_undefined():
    nothing = metrics.auc(np.zeros(4, int), np.full((4, 2), 0.5, np.float32), np.ones((1, 4)))
    assert np.isnan(nothing[0])


def test_a_unit_is_resampled_with_all_its_samples():
    units = ["a", "a", "b", "c", "c", "c"]
    for weights in unit_resamples(units, 50):
        assert (weights[:, 0] == weights[:, 1]).all()
        assert (weights[:, 3] == weights[:, 5]).all()
        assert (weights[:, [0, 2, 3]].sum(1) == 3).all()


def test_interval_over_cases_is_wider_than_over_samples():
    rng = np.random.default_rng(1)
    hits = np.repeat(rng.random(10) < 0.6, 50).astype(float)  # all right or all wrong in a case

    def mean(weights):
        return weights @ hits / weights.sum(1)

    low, high = bootstrap_interval(mean, [str(n // 50) for n in range(500)])
    narrow_low, narrow_high = bootstrap_interval(mean, [str(n) for n in range(500)])
    assert high - low > 3 * (narrow_high - narrow_low)


def test_paired_difference_is_the_paired_t_interval():
    rng = np.random.default_rng(2)
    ours, theirs = rng.random(10) + 0.1, rng.random(10)
    found = paired_difference(ours, theirs)
    expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_confusion_counts():
    found = metrics.confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
    assert found.tolist() == [[1, 1], [0, 1]]


def test_a_resample_without_a_class_is_not_scored_on_the_others():
    """A model that always says the first class is right for a third, in every resample."""
    truth = [0, 1] * 8 + [2]
    test = examples(truth, [f"case:{n // 2}" for n in range(16)] + ["case:7"])
    scores = np.tile(np.array([1, 0, 0], np.float32), (17, 1))
    found = measure(test, [scores], [])
    assert found["balanced_accuracy"]["value"] == pytest.approx(1 / 3)
    assert found["balanced_accuracy"]["interval"] == pytest.approx([1 / 3, 1 / 3])
    assert found["recall"]["a"]["interval"] == [1, 1]
    assert found["recall"]["c"]["interval"] == [None, None]  # of one case: unknown
    assert found["recall"]["c"]["value"] == 0


def test_a_mean_over_classes_present_together_keeps_its_classes():
    rng = np.random.default_rng(3)
    truth = np.stack([rng.integers(0, 2, 40), np.zeros(40, int), np.zeros(40, int)], axis=1)
    truth[:5, 1] = 1  # in one case of eight, and found perfectly
    scores = np.stack([rng.random(40), truth[:, 1], rng.random(40)], axis=1).astype(np.float32)
    units = [f"case:{n // 5}" for n in range(40)]
    found = measure(examples(truth, units), [scores], [[0.5, 0.5, 0.5]])
    one, low = found["average_precision"]["a"], found["mean_average_precision"]["interval"][0]
    assert found["mean_average_precision"]["value"] == pytest.approx((one["value"] + 1) / 2)
    assert low >= (1 + one["interval"][0]) / 2 - 0.05  # never the mean of the first alone
    assert found["average_precision"]["b"]["interval"] == [None, None]
    assert found["average_precision"]["c"]["value"] is None


def test_one_unit_has_no_interval():
    assert np.isnan(bootstrap_interval(lambda w: w.mean(axis=1), ["case:1"] * 9)).all()
