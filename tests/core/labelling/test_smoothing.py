"""Segments that are too short: merged as the scores say, against every way of cutting."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histoscope.core.labelling import smoothing


def without_short(scores, times, least, cuts=()):
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    return smoothing.without_short(scores, times, least, step, np.array(cuts, int))


def lasting(said, times, step):
    """How long each run of one class lasts: to a step after its last row."""
    edges = [0, *(np.flatnonzero(np.diff(said)) + 1).tolist(), len(said)]
    return [times[end - 1] - times[begin] + step for begin, end in pairwise(edges)]


def total(scores, said):
    return np.log(np.maximum(scores.astype(float), 1e-9))[np.arange(len(said)), list(said)].sum()


def best_of_all(scores, times, least):
    """The largest sum of log scores over every sequence whose runs are long enough."""
    step = np.median(np.diff(times)) if len(times) > 1 else 0.0
    ways = product(range(scores.shape[1]), repeat=len(scores))
    fit = [said for said in ways if min(lasting(said, times, step)) >= least - 1e-6]
    fit = fit or [(kind,) * len(scores) for kind in range(scores.shape[1])]
    return max(total(scores, said) for said in fit)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 7), st.integers(0, 2**16), st.sampled_from([0.5, 1, 2, 2.5, 3, 4, 9]))
def test_it_is_the_best_of_all_ways_of_cutting(rows, seed, least):
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.full(3, 0.5), rows)
    times = np.cumsum(rng.choice([1.0, 1.0, 1.0, 2.0, 0.5], rows))
    said = without_short(scores, times, least)
    step = np.median(np.diff(times)) if rows > 1 else 0.0
    short = min(lasting(said, times, step)) < least - 1e-6
    assert not (short and len(set(said.tolist())) > 1)
    assert total(scores, said) == pytest.approx(best_of_all(scores, times, least))


def peaked(said, score=0.8):
    out = np.full((len(said), 3), (1 - score) / 2, np.float32)
    out[np.arange(len(said)), said] = score
    return out


def test_a_short_segment_goes_to_the_neighbour_whose_scores_fit_better():
    said = np.array([0, 0, 0, 1, 2, 2, 2])
    scores = peaked(said)
    scores[3] = [0.1, 0.6, 0.3]
    assert without_short(scores, np.arange(7.0), 3).tolist() == [0, 0, 0, 2, 2, 2, 2]
    assert without_short(scores, np.arange(7.0), 1).tolist() == said.tolist()
    assert without_short(scores, np.arange(7.0), 60).tolist() == [2] * 7


def test_one_frame_that_is_sure_does_not_forbid_a_class():
    scores = np.eye(3)[[0, 0, 0, 0, 1, 0, 0, 0]]
    assert without_short(scores, np.arange(8.0), 3).tolist() == [0] * 8


def test_stretches_between_cuts_do_not_tell_of_each_other():
    scores = peaked([0, 0, 0, 1, 1, 2, 2, 2])
    assert without_short(scores, np.arange(8.0), 3, [4]).tolist() == [0, 0, 0, 0, 2, 2, 2, 2]
    whole = without_short(scores, np.arange(8.0), 3)
    assert len(set(whole[3:5].tolist())) == 1  # of two seconds, to one side or the other
