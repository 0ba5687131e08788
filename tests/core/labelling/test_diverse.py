"""Which samples are worth a label, on points whose groups are painted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histoscope.core.labelling.diverse import (
    DIMENSIONS,
    choose,
    density,
    loneliness,
    principal_coordinates,
)
from histoscope.core.labelling.diverse import _Turns as Turns

METHODS = ("typical", "core-set")


def groups(sizes, seed=0, dim=8, spread=0.3):
    """Points in groups far apart, and the group of each."""
    rng = np.random.default_rng(seed)
    centres = 10 * np.eye(dim)[: len(sizes)]
    group = np.repeat(np.arange(len(sizes)), sizes)
    points = centres[group] + rng.normal(0, spread, (len(group), dim))
    return points.astype(np.float32), group


def places(points, count, method, units=None, labelled=None, uncertainty=None):
    units = units or [f"sample:{place}" for place in range(len(points))]
    none = np.zeros(len(points), bool)
    labelled = none if labelled is None else labelled
    found = choose(points, units, labelled, count, method=method, uncertainty=uncertainty)
    return [one.place for one in found]


@pytest.mark.parametrize(
    ("method", "sizes"), [("typical", [200, 60, 30, 12]), ("core-set", [200, 60, 30, 30])]
)
def test_every_group_gets_one_whatever_its_size(method, sizes):
    points, group = groups(sizes)
    chosen = places(points, 4, method)
    assert sorted(group[chosen]) == [0, 1, 2, 3]
    if method == "typical":
        assert group[chosen].tolist() == [0, 1, 2, 3]  # the largest first


@pytest.mark.parametrize("method", METHODS)
def test_a_group_that_has_a_label_comes_last(method):
    points, group = groups([50, 50, 50])
    labelled = np.zeros(150, bool)
    labelled[[3, 60]] = True
    assert group[places(points, 1, method, labelled=labelled)].tolist() == [2]


@pytest.mark.parametrize("method", METHODS)
def test_an_outlier_is_left_for_last(method):
    points, _ = groups([100, 100])
    points[7] = 60.0
    assert 7 not in places(points, 20, method)
    assert 7 in places(points, 200, method)


def test_loneliness_is_the_mean_distance_to_the_nearest_others(monkeypatch):
    line = np.array([[0.0], [1.0], [3.0], [50.0]])
    assert loneliness(line).tolist() == pytest.approx([54 / 3, 52 / 3, 52 / 3, 146 / 3])
    assert loneliness(line[:1]).tolist() == [0.0]
    points = np.random.default_rng(0).normal(size=(30, 2))
    whole = loneliness(points)
    monkeypatch.setattr("histoscope.core.labelling.diverse.JUDGED", 7)
    part = loneliness(points)
    assert (part > 0).all()
    assert np.corrcoef(whole, part)[0, 1] > 0.5


@pytest.mark.parametrize("method", METHODS)
def test_one_a_unit_before_two(method):
    points, _ = groups([120, 40])
    units = [f"case:{place % 8}" for place in range(160)]
    chosen = places(points, 20, method, units)
    told = [units[place] for place in chosen]
    assert len(set(told[:8])) == 8
    assert len(set(told[8:16])) == 8
    assert len(set(told[16:])) == 4


@pytest.mark.parametrize("method", METHODS)
def test_labels_that_a_unit_has_count_for_its_turn(method):
    points, _ = groups([40, 40])
    units = ["case:a" if place % 2 else "case:b" for place in range(80)]
    labelled = np.zeros(80, bool)
    labelled[[1, 3, 41]] = True  # all of case a
    chosen = places(points, 3, method, units, labelled)
    assert {units[place] for place in chosen} == {"case:b"}


@pytest.mark.parametrize("method", METHODS)
def test_copies_of_labelled_and_of_chosen_samples_are_left_out(method):
    points, _ = groups([20, 20])
    doubled = np.repeat(points, 3, axis=0)
    labelled = np.zeros(120, bool)
    labelled[0] = True
    chosen = places(doubled, 200, method, labelled=labelled)
    originals = [place // 3 for place in chosen]
    assert len(set(originals)) == len(originals)
    assert 0 not in originals
    assert len(chosen) < 40


@pytest.mark.parametrize("method", METHODS)
def test_what_a_model_is_sure_of_is_worth_less(method):
    points, group = groups([40, 40, 40])
    doubt = np.where(group == 1, 1.0, 0.01)
    labelled = np.zeros(120, bool)
    labelled[[0, 40, 80]] = True
    chosen = places(points, 2, method, labelled=labelled, uncertainty=doubt)
    assert set(group[chosen]) == {1}


@given(st.integers(2, 40), st.integers(1, 50), st.sampled_from(METHODS), st.integers(0, 3))
def test_choices_are_distinct_unlabelled_and_repeatable(samples, count, method, labels):
    points = np.random.default_rng(samples).normal(size=(samples, 5)).astype(np.float32)
    labelled = np.arange(samples) < min(labels, samples - 1)
    chosen = places(points, count, method, labelled=labelled)
    assert chosen == places(points, count, method, labelled=labelled)
    assert len(set(chosen)) == len(chosen) <= count
    assert not labelled[chosen].any()


@pytest.mark.parametrize("method", METHODS)
def test_equal_images_are_one(method):
    assert len(places(np.ones((30, 4), np.float32), 5, method)) == 1


def test_density_is_one_over_the_mean_distance_to_the_nearest():
    line = np.array([[0.0], [1.0], [3.0], [50.0]])
    found = density(line, np.array([0, 0, 0, 1]), np.array([[1.0], [50.0]]))
    assert found.tolist() == pytest.approx([2 / 4, 2 / 3, 2 / 5, 1.0])


def test_far_members_of_a_large_group_count_as_less_dense(monkeypatch):
    monkeypatch.setattr("histoscope.core.labelling.diverse.JUDGED", 2)
    line = np.array([[0.0], [1.0], [3.0]])
    assert density(line, np.zeros(3, int), np.array([[0.5]]))[2] == 0


def test_components_keep_distances_and_are_fitted_on_some_of_many(monkeypatch):
    points = np.random.default_rng(0).normal(size=(300, 20)).astype(np.float32)
    found = principal_coordinates(points)
    apart = np.linalg.norm(points[3] - points[9])
    assert np.linalg.norm(found[3] - found[9]) == pytest.approx(apart, rel=1e-4)
    wide = np.random.default_rng(0).normal(size=(100, 3 * DIMENSIONS)).astype(np.float32)
    assert principal_coordinates(wide).shape == (100, DIMENSIONS)
    monkeypatch.setattr("histoscope.core.labelling.diverse.FITTED", 100)
    assert principal_coordinates(points).shape == (300, 20)
    assert len(set(places(points, 10, "typical"))) == 10


def test_a_unit_without_free_samples_holds_nobody_up():
    turns = Turns(np.arange(6.0)[:, None] * 10, ["a", "b", "b", "b", "b", "b"], np.zeros(6, bool))
    turns.mark_labelled(0)
    turns.mark_labelled(1)
    turns.mark_labelled(2)
    assert turns.open().tolist() == [3, 4, 5]
