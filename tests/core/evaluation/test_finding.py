"""Ranking of sources and false calls against counting by hand."""

import itertools

import numpy as np
import pytest

from histoscope.core.evaluation.finding import expected_highest, finding
from histoscope.core.evaluation.intervals import bootstrap
from tests.made import examples


@pytest.mark.parametrize(("count", "drawn"), [(1, 3), (5, 1), (6, 3), (7, 7), (4, 9)])
def test_the_expected_highest_is_the_mean_over_all_that_can_be_drawn(count, drawn):
    scores = np.random.default_rng(count).random(count)
    drawings = itertools.combinations(scores.tolist(), min(drawn, count))
    wanted = np.mean([max(one) for one in drawings])
    assert expected_highest(scores, drawn) == pytest.approx(wanted, abs=1e-12)


def test_samples_that_could_not_be_read_count_for_nothing():
    scores = np.array([0.2, np.nan, 0.9, 0.4], np.float32)
    assert expected_highest(scores) == pytest.approx(0.9)
    assert expected_highest(scores, 1) == pytest.approx(0.5)


def test_size_alone_raises_no_rank_and_a_rare_class_does():
    rng = np.random.default_rng(0)
    small = [expected_highest(rng.beta(2, 8, 200)) for _ in range(200)]
    large = [expected_highest(rng.beta(2, 8, 5000)) for _ in range(200)]
    assert abs(np.mean(large) - np.mean(small)) < 0.01  # the highest of all differ by 0.17
    rare = rng.beta(2, 8, 5000)
    rare[:100] = 0.95  # 2 %
    assert expected_highest(rare) > max(large) + 0.1
    assert abs(rare.mean() - rng.beta(2, 8, 5000).mean()) < 0.03  # the mean hardly tells


def test_sources_rank_and_false_calls_are_counted_by_hand():
    # sources a and b have the class 1, c and d have not; two samples each
    truth, units = [1, 0, 0, 1, 0, 0, 0, 0], list("aabbccdd")
    score = np.array([0.9, 0.1, 0.2, 0.6, 0.7, 0.1, 0.3, 0.2], np.float32)
    scores = [np.stack([1 - score, score], axis=1)]
    called = [scores[0] > 0.5]
    found = finding(examples(truth, units), scores, called, bootstrap)["finding"]["b"]
    assert (found["with"], found["without"], found["of"]) == (2, 2, "sources")
    assert found["auc"]["value"] == pytest.approx(3 / 4)  # 0.9 and 0.6 over 0.7 and 0.3
    assert found["false_calls"]["value"] == pytest.approx(1 / 4)
    other = finding(examples(truth, units), scores, called, bootstrap)["finding"]["a"]
    assert (other["with"], other["without"], other["auc"]) == (4, 0, None)
    assert other["of"] == "samples"  # no source is without it
    assert other["false_calls"]["value"] == pytest.approx(0)


def test_a_set_of_several_cases_is_ranked_case_by_case():
    truth, units = [1, 0, 0, 0], list("aabb")
    score = np.array([0.9, 0.1, 0.2, 0.3], np.float32)
    scores = [np.stack([1 - score, score], axis=1)]
    test = examples(truth, units, sources=["set"] * 4)
    found = finding(test, scores, [scores[0] > 0.5], bootstrap)["finding"]["b"]
    assert (found["with"], found["without"], found["auc"]["value"]) == (1, 1, 1.0)
    assert found["auc"]["interval"] == [None, None]  # of one case each nothing more is known


def test_of_what_is_unknown_nothing_is_said():
    truth = np.array([[1, -1], [0, -1], [0, 0], [-1, -1]])
    scores = [np.full((4, 2), 0.6, np.float32)]
    test = examples(truth, ["case:1", "case:1", "case:2", "case:3"])
    found = finding(test, scores, [scores[0] > 0.5], bootstrap)["finding"]
    assert (found["a"]["with"], found["a"]["without"]) == (1, 1)  # the third is unknown
    assert found["a"]["false_calls"]["value"] == 1
    assert (found["b"]["with"], found["b"]["without"], found["b"]["auc"]) == (0, 1, None)


def test_heads_of_whole_sources_have_nothing_to_find():
    test = examples([1, 0], ["a", "b"])
    scores = [np.full((2, 2), 0.5, np.float32)]
    whole = test.truth.task.__class__("made", ("a", "b"), True, "source")
    told = type(test.truth)(whole, test.truth.values)
    assert finding(test.__class__(**{**vars(test), "truth": told}), scores, [], bootstrap) == {}
