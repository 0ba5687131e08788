"""Draws of few labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histoscope.core.config import build
from histoscope.core.errors import ConfigError, DataError
from histoscope.core.heads.contract import Bags
from histoscope.core.learning.draws import draw_cases, draw_labels
from histoscope.core.learning.probe import Probe
from histoscope.core.learning.spec import FinetuneSpec, ProbeSpec
from histoscope.core.randomness import generator
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


def taken_by_hand(values, cases, count, order):
    """Walk the order; a case is in where some class that it has still wants one."""
    found, left = set(), dict.fromkeys(set(values), count)
    for case in order:
        kinds = {kind for kind, its in zip(values, cases, strict=True) if its == case}
        if any(left[kind] > 0 for kind in kinds):
            found.add(case)
        for kind in kinds:
            left[kind] -= 1
    return found


@given(
    told=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 2)), min_size=40, max_size=120),
    draw=st.integers(0, 5),
)
def test_draws_of_cases_hold_so_many_of_every_class_and_are_nested(told, draw):
    values = np.array([kind for _, kind in told] + [0, 1, 2] * 3)
    cases = [f"c{one}" for one, _ in told] + [f"d{place // 3}" for place in range(9)]
    names = np.array(cases)

    def drawn(count):
        return draw_cases(truth(values, 3), cases, count, draw, 7, "here")

    few, more = drawn(1), drawn(3)
    assert (few == drawn(1)).all()
    assert set(few) <= set(more)
    known = np.unique(names)
    order = known[generator(7, "draw/cases", draw).permutation(len(known))]
    for count, chosen in ((1, few), (3, more)):
        own = set(names[chosen])
        assert own == taken_by_hand(values.tolist(), cases, count, order)
        assert len(chosen) == np.isin(names, list(own)).sum()
        for kind in range(3):
            assert len(set(names[chosen][values[chosen] == kind])) >= count


def test_draws_of_cases_of_one_class_each_hold_exactly_so_many():
    values = np.arange(60) // 2 % 2
    cases = [f"c{place // 2}" for place in range(60)]
    drawn = [draw_cases(truth(values), cases, 5, draw, 0, "here") for draw in range(3)]
    for chosen in drawn:
        assert np.bincount(values[chosen]).tolist() == [10, 10]
    assert len({tuple(chosen) for chosen in drawn}) == 3


def test_of_classes_that_hold_together_cases_without_are_drawn_too():
    values = np.full((12, 2), -1)
    values[:8, 0] = np.arange(8) % 2
    values[4:, 1] = np.arange(8) % 2
    cases = [f"c{place:02}" for place in range(12)]
    told = truth(values)
    chosen = draw_cases(told, cases, 2, 0, 0, "here")
    assert (told.take(chosen).holds.sum(axis=0) >= 2).all()
    assert (told.take(chosen).denied.sum(axis=0) >= 2).all()
    values[4:9, 1] = 1
    with pytest.raises(DataError, match="a label without b is in 1 cases, 2 are asked"):
        draw_cases(truth(values), cases, 2, 0, 0, "here")
    values[:, 1] = 1  # of which nothing can be learnt, and nothing is asked
    chosen = draw_cases(truth(values), cases, 2, 0, 0, "here")
    assert (truth(values).take(chosen).denied.sum(axis=0) >= [2, 0]).all()


def test_too_few_cases_are_refused_with_their_number():
    values, cases = [0] * 10 + [1] * 3, [*"abcdefghij", *"xyx"]
    with pytest.raises(DataError) as refused:
        draw_cases(truth(values), cases, 3, 0, 0, "the train split")
    assert str(refused.value) == "b is in 2 cases, 3 are asked for (the train split)"
    with pytest.raises(DataError, match="--cases-per-class 1: some labelled samples have no case"):
        draw_cases(truth([0, 1]), ["a", None], 1, 0, 0, "the train split")


def test_cases_stand_instead_of_a_share():
    few = build(FinetuneSpec, {"cases_per_class": 5}, "a")
    assert (few.cases_per_class, few.fraction, few.draw_by) == (5, None, "case")
    assert build(FinetuneSpec, few.model_dump(), "a") == few
    assert "cases_per_class" not in ProbeSpec().model_dump()
    for wrong, said in [
        ({"cases_per_class": 5, "fraction": 0.5}, "fraction and cases_per_class: give only one"),
        (
            {"cases_per_class": 5, "draw_by": "sample"},
            "draw_by: with cases_per_class cases are drawn, not samples",
        ),
        ({"fraction": None}, "fraction: give a number, or cases"),
        ({"cases_per_class": 0}, "cases_per_class: input should be greater than or equal to 1"),
    ]:
        with pytest.raises(ConfigError, match=said):
            build(FinetuneSpec, wrong, "a")


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


@pytest.mark.parametrize("present", [[1], [0, 2], [0, 1, 3]])
def test_a_class_without_a_label_is_never_answered(present):
    rng = np.random.default_rng(0)
    labels = np.resize(present, 30)
    features = (rng.normal(size=(30, 6)) + labels[:, None]).astype(np.float32)
    scores = Probe().fit(features, labels, 4)[0].probabilities(Bags.of_samples(features))
    others = [kind for kind in range(4) if kind not in present]
    assert not scores[:, others].any()
    if len(present) > 1:
        alone = np.searchsorted(present, labels)
        head = Probe().fit(features, alone, len(present))[0]
        assert np.allclose(scores[:, present], head.probabilities(Bags.of_samples(features)))
