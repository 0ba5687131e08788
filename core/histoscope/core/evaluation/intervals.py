"""Intervals that speak of cases: bootstrap over cases and draws; t-intervals over draws alone.

Cases and draws are resampled independently (Owen 2007, "The pigeonhole bootstrap"). Of few cases
the percentiles are expanded, so that the interval of a mean is that of Student's t (Hesterberg
2015, "What teachers should know about the bootstrap", section 5.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from scipy.stats import t as student_t

from histoscope.core.randomness import generator

LEVEL = 0.95
FEW = 50  # units below which percentiles are expanded
RESAMPLES, OF_FEW = 1000, 10_000
CHUNK = 100
Metric = Callable[[int, NDArray[np.float64]], NDArray[np.float64]]  # of a draw and unit weights


def tail(units: int) -> float:
    """Share of resamples below the interval, and above it.

    Below 50 units Phi(-sqrt(n / (n - 1)) t), t the quantile of Student's distribution with n - 1
    degrees of freedom; NaN of one unit, of which nothing can be drawn but itself.
    """
    if units < 2:
        return float("nan")
    if units >= FEW:
        return (1 - LEVEL) / 2
    half = student_t.ppf((1 + LEVEL) / 2, units - 1)
    return float(norm.cdf(-np.sqrt(units / (units - 1)) * half))


def weights(
    units: int, draws: int, seed: int = 0
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Resamples in chunks: how often each unit came, (resamples, units), and each draw's share.

    Shares are (resamples, draws) and sum to 1. The same numbers give the same resamples.
    """
    resamples = OF_FEW if units < FEW else RESAMPLES
    of_units, of_draws = generator(seed, "bootstrap"), generator(seed, "bootstrap/draws")
    for start in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - start)
        came = of_units.multinomial(units, np.full(units, 1 / units), size=size)
        shares = of_draws.multinomial(draws, np.full(draws, 1 / draws), size=size) / draws
        yield came.astype(float), shares


def resampled(metric: Metric, units: int, draws: int, seed: int = 0) -> NDArray[np.float64]:
    """The mean over draws of a metric in each resample; NaN where it is undefined."""
    values = []
    for came, shares in weights(units, draws, seed):
        of_draws = np.stack([metric(draw, came) for draw in range(draws)], axis=1)
        values.append(np.where(shares > 0, shares * of_draws, 0).sum(axis=1))
    return np.concatenate(values)


def interval(values: NDArray[np.float64], units: int) -> tuple[float, float]:
    """Ends of the 95 % interval of resampled values; undefined ones are left out."""
    defined = values[~np.isnan(values)]
    if units < 2 or not len(defined):
        return float("nan"), float("nan")
    share = tail(units)
    low, high = np.quantile(defined, [share, 1 - share])
    return float(low), float(high)


@dataclass(frozen=True)
class Difference:
    """A paired difference and its interval.

    Attributes:
        mean: over draws.
        low, high: of the 95 % interval.
        units: cases that were resampled with the draws; 0: the interval is over draws alone.
        draws: how many pairs.
    """

    mean: float
    low: float
    high: float
    units: int
    draws: int


def difference(ours: Metric, theirs: Metric, units: int, draws: int, seed: int = 0) -> Difference:
    """Mean of ours - theirs; cases and draws are resampled alike on both sides."""

    def gap(draw: int, came: NDArray[np.float64]) -> NDArray[np.float64]:
        return ours(draw, came) - theirs(draw, came)

    whole = np.ones((1, units))
    mean = float(np.mean([gap(draw, whole)[0] for draw in range(draws)]))
    low, high = interval(resampled(gap, units, draws, seed), units)
    return Difference(mean, low, high, units, draws)


def over_draws(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """Mean of ours - theirs, draw by draw, with a t-interval (draws - 1 degrees of freedom).

    It speaks of which labels were drawn, not of other patients.

    Raises:
        ValueError: not the same draws, or fewer than two.
    """
    gaps = np.subtract(ours, theirs)
    if len(gaps) < 2:
        raise ValueError("a paired interval over draws needs at least two")
    half = student_t.ppf((1 + LEVEL) / 2, len(gaps) - 1) * gaps.std(ddof=1) / np.sqrt(len(gaps))
    mean = float(gaps.mean())
    return Difference(mean, mean - float(half), mean + float(half), 0, len(gaps))
