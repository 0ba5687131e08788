"""Nothing is chosen inside a draw on other samples of the same case."""

from __future__ import annotations

import numpy as np
import pytest

from histoscope.core.heads.contract import Bags
from histoscope.core.heads.neighbours import fit_neighbours
from histoscope.core.learning.calibration import why_not
from histoscope.core.learning.contract import Draw
from histoscope.core.learning.folds import folds_of
from histoscope.core.learning.probe import STRENGTHS, Probe, ProbeFitter, held_apart
from histoscope.core.learning.spec import ProbeSpec
from tests.made import examples, truth


def stained(cases=24, each=6, dim=12, seed=0):
    """A weak sign of the class, and a strong one of the case; each case is of one class."""
    rng = np.random.default_rng(seed)
    case = np.repeat(np.arange(cases), each)
    labels = case % 2
    of_case = rng.normal(size=(cases, dim)) * 3
    sign = np.outer(2 * labels - 1, np.eye(dim)[0])
    features = of_case[case] + sign + rng.normal(size=(len(case), dim)) * 0.3
    return features.astype(np.float32), labels, [f"case:{one}" for one in case]


def test_a_case_is_on_one_side_of_every_fold():
    _, labels, units = stained()
    found = folds_of(labels, units)
    assert found.apart
    names = np.array(units)
    for fit, held in found.parts:
        assert not set(names[fit]) & set(names[held])
        assert set(labels[fit]) == {0, 1}
    assert sorted(np.concatenate([held for _, held in found.parts])) == list(range(len(labels)))


@pytest.mark.parametrize("seed", range(20))
def test_a_class_of_two_cases_stands_in_every_part_that_is_fitted_on(seed):
    rng = np.random.default_rng(seed)
    cases = rng.integers(0, 7, 60)
    labels = np.where(cases < 2, 2, rng.integers(0, 2, 60))
    found = folds_of(labels, [f"case:{one}" for one in cases])
    for fit, held in found.parts:
        assert set(labels[fit]) == set(labels)
        assert len(held)
        assert found.apart == (not set(cases[fit]) & set(cases[held]))


@pytest.mark.parametrize("seed", range(20))
def test_where_there_are_cases_enough_to_calibrate_on_whole_cases_are_held_out(seed):
    """However uneven they are, and however many of them have several classes."""
    rng = np.random.default_rng(seed)
    cases = np.repeat(np.arange(20), rng.geometric(rng.uniform(0.05, 1), 20))
    labels = np.where(cases < 5, 1, 0)
    labels = np.where(rng.random(len(cases)) < 0.1 * (seed % 2), 1 - labels, labels)
    units = [f"case:{one}" for one in cases]
    told = truth(labels, level="source")
    assert folds_of(labels, units).apart or why_not(told, units) is not None


def test_a_class_of_one_case_is_held_out_by_samples():
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    units = ["case:a", "case:a", "case:b", "case:b", *["case:c"] * 4]
    found = folds_of(labels, units)
    assert not found.apart
    assert not held_apart(labels, units)
    assert all(set(labels[fit]) == {0, 1} for fit, _ in found.parts)


def test_cases_of_one_sample_are_folds_of_samples():
    labels = np.arange(30) % 3
    alone = [f"case:{place}" for place in range(30)]
    for one, other in zip(folds_of(labels, alone).parts, folds_of(labels).parts, strict=True):
        assert (one[1] == other[1]).all()


def test_the_strength_does_not_know_the_case():
    """Held out by samples a weak penalty looks best: it learns the cases by heart."""
    features, labels, units = stained()
    centre = features.mean(axis=0)
    _, by_sample = Probe("cv", centre).fit(features, labels, 2)
    _, by_case = Probe("cv", centre).fit(features, labels, 2, units)
    assert by_case < by_sample
    losses = []
    for strength in STRENGTHS:
        logits = Probe(strength, centre).held_out(features, labels, 2, units)
        second = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
        right = np.where(labels == 1, second, 1 - second)
        losses.append(-np.log(right).mean())  # classes are equally frequent
    assert by_case == STRENGTHS[int(np.argmin(losses))]


def test_thresholds_are_chosen_on_other_cases():
    features, labels, units = stained()
    truth = np.stack([labels, 1 - labels], axis=1)
    probe = Probe(100.0, features.mean(axis=0))
    by_sample, by_case = (
        probe.fit_with_thresholds(features, truth, 2, given)[0].cut for given in (None, units)
    )
    assert (by_sample != by_case).any()


def test_neighbours_of_the_same_case_do_not_vote_while_their_number_is_chosen():
    features, labels, units = stained(cases=8, each=3)
    labels = np.array([int(name[-1]) // 2 % 2 for name in units])
    centre = features.mean(axis=0)
    by_sample = fit_neighbours(features, labels, 2, centre, (1, 5), None).neighbours
    assert by_sample == 1  # the other samples of a case are nearest
    by_hand = {}
    rows = features - centre
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    for count in (1, 5):
        hits = np.zeros(len(rows))
        for at in range(len(rows)):
            others = [i for i in range(len(rows)) if units[i] != units[at]]
            near = sorted(others, key=lambda i: -float(rows[i] @ rows[at]))[:count]
            votes = [sum(labels[i] == kind for i in near) for kind in (0, 1)]
            hits[at] = int(np.argmax(votes)) == labels[at]
        by_hand[count] = np.mean([hits[labels == kind].mean() for kind in (0, 1)])
    found = fit_neighbours(features, labels, 2, centre, (1, 5), units).neighbours
    assert found == max(by_hand, key=lambda count: (by_hand[count], -count))


def test_a_draw_says_what_was_held_out():
    features, labels, units = stained()
    fitter = ProbeFitter(ProbeSpec())
    two = ["case:a" if kind else f"case:{place}" for place, kind in enumerate(labels)]
    for given, held, warnings in ((units, "cases", 0), (two, "samples", 1)):
        draw = Draw(
            truth(labels), given, Bags.of_samples(features), 12, features.mean(axis=0), "no"
        )
        assert fitter.fit(draw).settings["held_out"] == held
        said = fitter.warn([examples(labels, given)] * 3)
        assert len(said) == warnings
    assert said == [
        "made: 3 of 3 draws have some class in one of the cases only; what is chosen there by "
        "holding labels out may know the others of the same"
    ]
