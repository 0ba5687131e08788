"""Intervals that speak of cases: bootstrap over cases and draws; t-intervals over draws alone.

Cases and draws are resampled independently (Owen 2007, "The pigeonhole bootstrap"). Of few cases
the percentiles are expanded, so that the interval of a mean is that of Student's t (Hesterberg
2015, "What teachers should know about the bootstrap", section 5.3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isnan
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from histoscope.core.randomness import generator

LEVEL = 0.95
LEAST = 5  # units below which no resample is wide enough for an interval
FEW = 50  # units below which percentiles are expanded
RESAMPLES, OF_FEW = 1000, 10_000
CHUNK = 100
Metric = Callable[[int, NDArray[np.float64]], NDArray[np.float64]]  # of a draw and unit weights
Ends = Callable[[Metric, int, int], tuple[float, float]]  # of an interval, by units and draws


def tail(units: int) -> float:
    """Share of resamples below the interval, and above it.

    Below 50 units Phi(-sqrt(n / (n - 1)) t), t the quantile of Student's distribution with n - 1
    degrees of freedom; NaN below 5 units, where even the outermost resample (one unit, n times)
    is not as far out as the interval.
    """
    if units < LEAST:
        return float("nan")
    if units >= FEW:
        return (1 - LEVEL) / 2
    half = stdtrit(units - 1, (1 + LEVEL) / 2)
    return float(ndtr(-np.sqrt(units / (units - 1)) * half))


class Resamples(NamedTuple):
    """What is drawn: units and draws, independently.

    Attributes:
        weights: how often each unit came, (different ones, units), in parts.
        which: of these in each resample, (resamples,).
        shares: of each draw, (resamples, draws); they sum to 1.
    """

    weights: Sequence[NDArray[np.float64]]
    which: NDArray[np.intp]
    shares: NDArray[np.float64]


@lru_cache(maxsize=4)
def resamples(units: int, draws: int, seed: int = 0) -> Resamples:
    """10,000 of few units, else 1,000; the same numbers give the same.

    Of seven units there are no more than 1,716 different resamples.
    """
    count = OF_FEW if units < FEW else RESAMPLES
    of_units, of_draws = generator(seed, "bootstrap"), generator(seed, "bootstrap/draws")
    came = of_units.multinomial(units, np.full(units, 1 / units), size=count)
    shares = of_draws.multinomial(draws, np.full(draws, 1 / draws), size=count) / draws
    unlike, which = np.unique(came, axis=0, return_inverse=True)
    parts = [unlike[at : at + CHUNK].astype(float) for at in range(0, len(unlike), CHUNK)]
    return Resamples(parts, which.reshape(-1), shares)


def resampled(metric: Metric, units: int, draws: int, seed: int = 0) -> NDArray[np.float64]:
    """The mean over draws of a metric in each resample; NaN where it is undefined."""
    weights, which, shares = resamples(units, draws, seed)
    of_draws = [np.concatenate([metric(draw, part) for part in weights]) for draw in range(draws)]
    values = np.stack(of_draws, axis=1)[which]
    return np.asarray(np.where(shares > 0, shares * values, 0).sum(axis=1))


def interval(values: NDArray[np.float64], units: int) -> tuple[float, float]:
    """Ends of the 95 % interval of resampled values; undefined ones are left out."""
    defined = values[~np.isnan(values)]
    if units < LEAST or not len(defined):
        return float("nan"), float("nan")
    share = tail(units)
    low, high = np.quantile(defined, [share, 1 - share])
    return float(low), float(high)


def bootstrap(metric: Metric, units: int, draws: int) -> tuple[float, float]:
    """Ends of the 95 % interval of a metric's mean over draws, over units and draws."""
    return interval(resampled(metric, units, draws), units)


def p_value(values: NDArray[np.float64], units: int) -> float:
    """Two-sided p of a difference of 0: one less the level of the interval that ends there.

    The smaller share of resamples on either side of 0 (one added, so that it is never 0), read
    through the same expansion as :func:`tail`; NaN where there is no interval.
    """
    defined = values[~np.isnan(values)]
    if units < LEAST or not len(defined):
        return float("nan")
    beyond = min((defined <= 0).sum(), (defined >= 0).sum())
    share = min(0.5, (beyond + 1) / (len(defined) + 1))
    if units >= FEW:
        return float(2 * share)
    far = ndtri(share) * np.sqrt((units - 1) / units)
    return float(2 * stdtr(units - 1, far))


@dataclass(frozen=True)
class Difference:
    """A paired difference and its interval.

    Attributes:
        mean: over draws.
        low, high: of the 95 % interval.
        p: of no difference, two-sided.
        units: cases that were resampled with the draws; 0: the interval is over draws alone.
        draws: how many pairs.
    """

    mean: float
    low: float
    high: float
    p: float
    units: int
    draws: int

    @property
    def ends(self) -> str:
        """``+0.010 to +0.050``, or ``unknown``."""
        return "unknown" if isnan(self.low) else f"{self.low:+.3f} to {self.high:+.3f}"


def less(ours: Metric, theirs: Metric) -> Metric:
    """The paired difference of two metrics."""
    return lambda draw, came: ours(draw, came) - theirs(draw, came)


def difference(gap: Metric, units: int, draws: int, seed: int = 0) -> Difference:
    """The mean of a paired difference; cases and draws are resampled alike on both sides."""
    whole = np.ones((1, units))
    mean = float(np.mean([gap(draw, whole)[0] for draw in range(draws)]))
    values = resampled(gap, units, draws, seed)
    low, high = interval(values, units)
    return Difference(mean, low, high, p_value(values, units), units, draws)


def over_draws(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """Mean of ours - theirs, draw by draw, with a t-interval (draws - 1 degrees of freedom).

    It speaks of which labels were drawn, not of other patients.

    Raises:
        ValueError: not the same draws, or fewer than two.
    """
    gaps = np.subtract(ours, theirs)
    if len(gaps) < 2:
        raise ValueError("a paired interval over draws needs at least two")
    error = float(gaps.std(ddof=1) / np.sqrt(len(gaps)))
    return by_student(float(gaps.mean()), error, len(gaps), units=0, draws=len(gaps))


def by_student(mean: float, error: float, parts: int, *, units: int, draws: int) -> Difference:
    """A difference with its t-interval and p, from a standard error of so many parts."""
    half = float(stdtrit(parts - 1, (1 + LEVEL) / 2)) * error
    far = abs(mean) / error if error > 0 else np.inf if mean else 0.0
    p = float(2 * stdtr(parts - 1, -far))
    return Difference(mean, mean - half, mean + half, p, units, draws)
