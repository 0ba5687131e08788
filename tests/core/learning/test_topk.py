"""The samples of a source that show a class most: by hand, and a rare class that they find."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from histoscope.core.config import build
from histoscope.core.contracts import Task
from histoscope.core.errors import ConfigError, UsageError
from histoscope.core.heads.contract import Bags
from histoscope.core.heads.topk import count_of
from histoscope.core.learning import FITTERS
from histoscope.core.learning.contract import Draw
from histoscope.core.learning.probe import ProbeFitter
from histoscope.core.learning.spec import FinetuneSpec, ProbeSpec, TopKSpec
from histoscope.core.learning.topk import TopKFitter, highest
from tests.core.learning.rare_sources import DIM, ROWS, drawn, made


def fitted(bags, labels, **more):
    return TopKFitter(TopKSpec(**more)).fit(drawn(bags, labels)).head


def by_hand(weight, bias, rows, share):
    """Of each class the mean of the highest logits, then softmax, as loops."""
    count = max(1, round(share * len(rows)))
    scores = []
    for one, offset in zip(weight, bias, strict=True):
        logits = [sum(a * b for a, b in zip(one, row, strict=True)) + offset for row in rows]
        scores.append(sum(sorted(logits, reverse=True)[:count]) / count)
    powers = [np.exp(score - max(scores)) for score in scores]
    return [power / sum(powers) for power in powers]


def test_a_head_computes_its_formula():
    bags, labels, _ = made(4, 0)
    head = fitted(bags, labels, topk={"steps": 20, "share": 0.05})
    sizes = [0, 1, 14, 150, 600]
    found = head.probabilities(Bags(bags.features, np.array(sizes)))
    kept = {name: values.astype(np.float64).tolist() for name, values in head.tensors().items()}
    for place, (start, end) in enumerate(pairwise(sizes)):
        rows = bags.features[start:end].astype(np.float64).tolist()
        wanted = by_hand(kept["weight"], kept["bias"], rows, kept["share"][0])
        assert found[place] == pytest.approx(wanted, abs=1e-6)


def test_training_takes_the_mean_that_predicting_takes():
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(40, 3)))
    for share, count in ((0.001, 1), (0.05, 2), (0.3, 12), (1.0, 40)):
        assert count_of(40, share) == count
        wanted = np.sort(logits.numpy(), axis=0)[-count:].mean(axis=0)
        assert highest(logits, share).numpy()[0] == pytest.approx(wanted)


def test_it_finds_the_rare_samples_and_the_sources_that_hold_them():
    train, labels, _ = made(20, 1)
    test, truth, rare = made(60, 2)
    head = fitted(train, labels)
    auc = roc_auc_score(truth, head.probabilities(test)[:, 1])
    probe = ProbeFitter(ProbeSpec()).fit(drawn(train, labels)).head
    assert auc > 0.9
    assert auc > roc_auc_score(truth, probe.probabilities(test)[:, 1]) + 0.1
    for start, held, label in zip(test.starts, rare, truth, strict=False):
        rows = test.features[start : start + ROWS]
        weights = head.attention(rows)
        assert sorted(set(weights.tolist())) == [0, pytest.approx(1 / 3)]
        assert weights.sum() == pytest.approx(1)
        if label and head.probabilities(Bags.of_one(rows))[0, 1] > 0.5:
            assert (weights > 0)[held].any()


def test_sources_of_very_different_size_are_scored_alike():
    """The highest of many are higher than of few; a part of them is not."""
    train, labels, _ = made(20, 1)
    head = fitted(train, labels)
    rng = np.random.default_rng(3)
    small, large = (rng.normal(size=(count, DIM)).astype(np.float32) for count in (1000, 50_000))
    logits = head.logits(Bags(np.concatenate([small, large]), np.array([0, 1000, 51_000])))
    most = [(part @ head.linear.weight.T).max(axis=0) for part in (small, large)]
    assert (most[1] - most[0]).min() > 3 * np.abs(logits[1] - logits[0]).max()


def test_labels_that_mean_nothing_give_nothing():
    train, labels, _ = made(20, 1)
    test, truth, _ = made(60, 2)
    permuted = np.random.default_rng(0).permutation(labels)
    auc = roc_auc_score(truth, fitted(train, permuted).probabilities(test)[:, 1])
    assert 0.2 < auc < 0.8


def test_the_same_labels_give_the_same_bits_and_another_seed_others():
    bags, labels, _ = made(8, 3)
    steps = {"topk": {"steps": 50, "samples": 100}}
    one, same, other = (fitted(bags, labels, seed=seed, **steps) for seed in (0, 0, 1))
    for name, values in one.tensors().items():
        assert np.array_equal(values, same.tensors()[name])
    assert not np.array_equal(one.tensors()["weight"], other.tensors()["weight"])


def test_with_cases_enough_scores_are_calibrated_by_whole_units():
    bags, labels, _ = made(24, 4)
    fast, told = TopKFitter(TopKSpec(topk={"steps": 30})), drawn(bags, labels)
    found = fast.fit(Draw(told.truth, told.units, bags, DIM, told.centre, None))
    assert found.uncalibrated is None
    plain = fast.fit(told).head
    ratio = plain.tensors()["weight"] / found.head.tensors()["weight"]
    assert np.allclose(ratio, found.settings["temperature"], rtol=1e-3)
    cold = found.head.logits(bags) * found.settings["temperature"]
    assert np.allclose(cold, plain.logits(bags), atol=1e-3)


def test_several_classes_learn_from_what_is_known():
    bags, labels, _ = made(10, 5)
    values = np.stack([labels, np.full(10, -1)], axis=1)
    head = TopKFitter(TopKSpec()).fit(drawn(bags, values, exclusive=False)).head
    assert not head.exclusive
    assert head.attention(bags.features[:ROWS]) is None
    assert roc_auc_score(labels, head.probabilities(bags)[:, 0]) > 0.9


def test_what_it_cannot_do_is_refused():
    fitter = FITTERS.load("topk")(TopKSpec())
    with pytest.raises(UsageError, match="--method topk: answers no task of a sample"):
        fitter.check(Task("tissue", ("a", "b")))
    assert FinetuneSpec.chosen({"method": "topk"}) is TopKSpec
    for share in (0, 1.5):
        with pytest.raises(ConfigError, match=r"topk\.share: input should be"):
            build(FinetuneSpec, {"method": "topk", "topk": {"share": share}}, "a")
