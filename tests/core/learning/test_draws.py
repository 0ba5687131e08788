"""Draws of few labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histoscope.core.errors import DataError
from histoscope.core.heads.contract import Bags
from histoscope.core.learning.draws import draw_labels
from histoscope.core.learning.probe import Probe
from tests.made import truth


@given(
    labels=st.lists(st.integers(0, 3), min_size=4, max_size=200),
    fraction=st.floats(0.01, 1.0),
    draw=st.integers(0, 5),
)
def test_draws_by_sample_are_stratified_nested_and_repeatable(labels, fraction, draw):
    ids, cases = np.array(labels), [None] * len(labels)

    def drawn(share):
        return draw_labels(truth(ids), cases, share, draw, 7, "sample")

    chosen = drawn(fraction)
    assert (chosen == drawn(fraction)).all()
    for kind in np.unique(ids):
        count = (ids == kind).sum()
        assert (ids[chosen] == kind).sum() == max(1, round(fraction * count))
    assert set(drawn(fraction / 2)) <= set(chosen)


def test_draws_by_case_take_whole_cases_and_every_class():
    ids = np.array([0, 0, 1, 1] * 10)
    cases = [f"c{n // 4}" for n in range(40)]
    chosen = draw_labels(truth(ids), cases, 0.3, 0, 0, "case")
    assert len(chosen) >= 12
    names = {cases[place] for place in chosen}
    assert len(chosen) == sum(case in names for case in cases)


def test_draws_by_case_need_cases():
    with pytest.raises(DataError, match="have no case"):
        draw_labels(truth([0, 1]), ["a", None], 0.5, 0, 0, "case")


@pytest.mark.parametrize("classes", [2, 4])
def test_the_folded_head_equals_scikit_learn_on_standardised_features(classes):
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    labels = np.arange(40) % classes
    features = (rng.normal(size=(40, 6)) * 5 + labels[:, None]).astype(np.float32)
    head = Probe().fit(features, labels, classes)[0]
    scaler = StandardScaler().fit(features.astype(float))
    model = LogisticRegression(C=1.0, class_weight="balanced", max_iter=2000)
    model.fit(scaler.transform(features.astype(float)), labels)
    new = rng.normal(size=(10, 6)).astype(np.float32)
    expected = model.predict_proba(scaler.transform(new.astype(float)))
    assert np.allclose(head.probabilities(Bags.of_samples(new)), expected, atol=1e-4)


def test_a_class_without_a_label_is_refused():
    with pytest.raises(DataError, match="every class needs one"):
        Probe().fit(np.zeros((2, 3), np.float32), np.array([0, 0]), 2)
