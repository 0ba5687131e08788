"""Classes in order without segments that are too short, from scores before and after."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

EXACT_S = 1e-6
SMALLEST = 1e-9  # a score below this counts as this: no sample alone forbids a class


def without_short(
    scores: NDArray[np.floating],
    times_s: NDArray[np.float64],
    least_s: float,
    step_s: float,
    cuts: NDArray[np.integer],
) -> NDArray[np.intp]:
    """Classes whose segments last ``least_s`` or longer, of the largest sum of log scores, (rows,).

    Of all ways to cut the rows into segments of one class, each long enough, the one whose log
    scores sum to most: a dynamic programme over the segments' ends, as semi-Markov models are
    decoded (Sarawagi and Cohen 2004, section 3.1), with no cost of a change. Stretches between
    ``cuts`` are taken by themselves; one that lasts less than ``least_s`` has one class.

    Args:
        scores: of readable rows, one or more, each summing to 1, (rows, classes).
        times_s: of the rows, increasing. A segment lasts from its first row to ``step_s`` after its
            last.
        least_s: shortest segment, s.
        step_s: the usual step from row to row, s.
        cuts: rows before which the sequence is interrupted, increasing, none of them the first.
    """
    logs = np.log(np.maximum(scores.astype(np.float64), SMALLEST))
    parts = pairwise([0, *cuts.tolist(), len(scores)])
    told = [_decoded(logs[a:b], times_s[a:b], least_s - step_s) for a, b in parts]
    return np.concatenate(told)


def _decoded(
    logs: NDArray[np.float64], times_s: NDArray[np.float64], apart_s: float
) -> NDArray[np.intp]:
    """Of one stretch; a segment's first and last row are ``apart_s`` or more apart."""
    rows, classes = logs.shape
    sums = np.concatenate([np.zeros((1, classes)), logs.cumsum(axis=0)])  # of rows before each
    last = np.searchsorted(times_s, times_s - apart_s + EXACT_S, side="right") - 1
    latest = np.minimum(last, np.arange(rows))  # row at which a segment that ends here may begin
    if latest[-1] < 0:
        return np.full(rows, sums[-1].argmax())
    best = np.full(rows + 1, -np.inf)  # sum of the best segments that end just before a row
    best[0], told = 0.0, np.zeros(rows, np.intp)
    begins, kinds = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    gain, since, seen = np.full(classes, -np.inf), np.zeros(classes, np.int64), 0
    for row in range(rows):
        for start in range(seen, latest[row] + 1):
            here = best[start] - sums[start]
            since, gain = np.where(here > gain, start, since), np.maximum(gain, here)
        seen = max(seen, int(latest[row]) + 1)
        ended = sums[row + 1] + gain
        kinds[row] = ended.argmax()
        best[row + 1], begins[row] = ended[kinds[row]], since[kinds[row]]
    end = rows
    while end:
        begin = int(begins[end - 1])
        told[begin:end], end = kinds[end - 1], begin
    return told
