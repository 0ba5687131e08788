"""Intervals: bootstrap over units, t-intervals over draws, paired differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

from histoscope.core.randomness import generator

RESAMPLES = 1000
CHUNK = 100


def unit_resamples(
    units: Sequence[str], resamples: int = RESAMPLES, seed: int = 0
) -> Iterator[NDArray[np.float64]]:
    """Weights of bootstrap resamples of whole units, in chunks (resamples, samples).

    A unit (case, source or sample) comes in with all its samples or not at all.
    """
    _, place = np.unique(np.asarray(units, dtype=str), return_inverse=True)
    count = int(place.max()) + 1
    rng = generator(seed, "bootstrap")
    for start in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - start)
        yield rng.multinomial(count, np.full(count, 1 / count), size=size)[:, place].astype(float)


def bootstrap_interval(
    metric: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    units: Sequence[str],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval, 95 %, of a metric of weights (resamples, samples) -> (resamples,).

    Resamples in which the metric is undefined (NaN) are left out; NaN where it always is, and
    where there is one unit only, of which nothing can be drawn but itself.
    """
    if len(set(units)) < 2:
        return float("nan"), float("nan")
    values = np.concatenate([metric(w) for w in unit_resamples(units, resamples, seed)])
    defined = values[~np.isnan(values)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)


@dataclass(frozen=True)
class Difference:
    """A paired difference over draws.

    Attributes:
        mean: of the differences.
        low, high: 95 % t-interval of the mean.
        draws: how many pairs.
    """

    mean: float
    low: float
    high: float
    draws: int


def paired_difference(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """Mean of ours - theirs, draw by draw, with a t-interval (draws - 1 degrees of freedom).

    Raises:
        ValueError: not the same draws, or fewer than two.
    """
    difference = np.subtract(ours, theirs)
    if len(difference) < 2:
        raise ValueError("a paired interval needs at least two draws")
    half = student_t.ppf(0.975, len(difference) - 1) * difference.std(ddof=1)
    half /= np.sqrt(len(difference))
    mean = float(difference.mean())
    return Difference(mean, mean - float(half), mean + float(half), len(difference))
