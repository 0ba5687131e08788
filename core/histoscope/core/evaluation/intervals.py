"""Intervals that speak of cases: bootstrap over cases and draws; t-intervals over draws alone.

Cases and draws are resampled independently (Owen 2007, "The pigeonhole bootstrap"). Of few cases
the percentiles are expanded (Hesterberg 2015, "What teachers should know about the bootstrap",
section 5.3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isnan
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from histoscope.core.randomness import generator

LEVEL = 0.95
LEAST = 5  # units below which no resample is wide enough for an interval
FEW = 50  # units below which percentiles are expanded
BEYOND = 5  # resamples that must lie beyond an end for it to be a percentile
RESAMPLES, OF_FEW = 1000, 10_000
CHUNK = 100
Metric = Callable[[int, NDArray[np.float64]], NDArray[np.float64]]  # of a draw and unit weights
Ends = Callable[[Metric, int, int, int], tuple[float, float]]  # by units, draws, and the rarest


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

    Of seven units there are no more than 1,716 different resamples; of many all are different.
    """
    count = OF_FEW if units < FEW else RESAMPLES
    of_units, of_draws = generator(seed, "bootstrap"), generator(seed, "bootstrap/draws")
    came = of_units.multinomial(units, np.full(units, 1 / units), size=count)
    shares = of_draws.multinomial(draws, np.full(draws, 1 / draws), size=count) / draws
    if units < FEW:
        unlike, which = np.unique(came, axis=0, return_inverse=True)
    else:
        unlike, which = came, np.arange(count)
    parts = [unlike[at : at + CHUNK].astype(float) for at in range(0, len(unlike), CHUNK)]
    return Resamples(parts, which.reshape(-1), shares)


@dataclass(frozen=True)
class Bootstrapped:
    """A metric's mean over draws in each resample, and what follows from it.

    Percentiles are expanded for few units, so that the interval of a mean is Student's: below it
    lies the share Phi(-sqrt(n / (n - 1)) t), t the quantile of Student's distribution. Where too
    few resamples lie so far out, the interval is Student's of their deviation. n are the units of
    the rarest class that counts, whose share of the error no other unit tells; degrees of freedom
    are n - 1, or fewer where few draws make much of the error (:func:`freedom`).

    Attributes:
        values: in each resample; NaN where it is undefined.
        whole: of all units, by draw, (draws,).
        units: that were resampled.
        rarest: of them that hold the rarest class that counts.
    """

    values: NDArray[np.float64]
    whole: NDArray[np.float64]
    units: int
    rarest: int

    @property
    def known(self) -> bool:
        """Whether there is an interval: five units, two of the rarest class, and some error.

        Where all units are alike, as where all is right, nothing is known of those that are not;
        where most resamples lack a class, those that have it say little.
        """
        if self.units < LEAST or self.rarest < 2 or len(self._defined) * 2 < len(self.values):
            return False
        return float(np.ptp(self._defined)) > 1e-12

    @property
    def ends(self) -> tuple[float, float]:
        """Of the 95 % interval; NaN where it is unknown."""
        if not self.known:
            return float("nan"), float("nan")
        share, far = self._share, self._quantile * self._error
        if share * len(self._defined) < BEYOND:
            mean = float(self.whole.mean())
            return mean - far, mean + far
        low, high = np.quantile(self._defined, [share, 1 - share])
        return float(low), float(high)

    @property
    def p(self) -> float:
        """Two-sided, of 0: one less the level of the interval that ends there.

        The smaller share of resamples on either side of 0 (one added, so that it is never 0), read
        through the same expansion; NaN where there is no interval.
        """
        if not self.known:
            return float("nan")
        if self._share * len(self._defined) < BEYOND:
            return float(2 * stdtr(self._freedom, -abs(self.whole.mean()) / self._error))
        beyond = min((self._defined <= 0).sum(), (self._defined >= 0).sum())
        share = min(0.5, (beyond + 1) / (len(self._defined) + 1))
        if not self._few:
            return float(2 * share)
        return float(2 * stdtr(self._freedom, ndtri(share) / self._widened))

    @property
    def _defined(self) -> NDArray[np.float64]:
        return self.values[~np.isnan(self.values)]

    @property
    def _freedom(self) -> float:
        draws, most = len(self.whole), self.rarest - 1
        if draws < 2:
            return most
        total = float(self._defined.var())
        of_draws = min(total, float(self.whole.var(ddof=1)) / draws)
        return freedom(total - of_draws, of_draws, most, draws)

    @property
    def _few(self) -> bool:
        return self.rarest < FEW or self._freedom < FEW - 1

    @property
    def _quantile(self) -> float:
        return float(stdtrit(self._freedom, (1 + LEVEL) / 2))

    @property
    def _widened(self) -> float:
        """What resamples of n units lack of the deviation."""
        return float(np.sqrt(self.rarest / (self.rarest - 1)))

    @property
    def _error(self) -> float:
        return float(self._defined.std()) * self._widened

    @property
    def _share(self) -> float:
        if not self._few:
            return (1 - LEVEL) / 2
        return float(ndtr(-self._widened * self._quantile))


def freedom(of_units: float, of_draws: float, most: int, draws: int) -> float:
    """Degrees of freedom of an error with two parts, at most those of its first.

    They are those whose quantile is the root of both parts' squared quantiles weighed by their
    share, as Cochran 1964 ("Approximate significance levels of the Behrens-Fisher test") weighs the
    quantiles: a part that is known by few does not look certain because it came out small.

    Args:
        of_units, of_draws: squared errors.
        most: degrees of freedom of the first part.
        draws: one more than those of the second.
    """
    if not of_draws or draws - 1 >= most:
        return most
    parts = np.array([of_units, of_draws]) / (of_units + of_draws)
    wanted = float(np.sqrt(parts @ stdtrit([most, draws - 1], (1 + LEVEL) / 2) ** 2))
    few, many = float(draws - 1), float(most)
    for _ in range(60):
        middle = (few + many) / 2
        few, many = (middle, many) if stdtrit(middle, (1 + LEVEL) / 2) > wanted else (few, middle)
    return (few + many) / 2


def resampled(
    metric: Metric, units: int, draws: int, rarest: int | None = None, seed: int = 0
) -> Bootstrapped:
    """Resample units and draws.

    Of m draws a resample varies (m - 1) / m of what new ones would: it is spread by so much.

    Args:
        metric: of a draw and weights of units.
        units, draws: how many there are.
        rarest: units that hold the rarest class that counts; None: all do.
        seed: of the resamples.
    """
    weights, which, shares = resamples(units, draws, seed)
    of_draws = [np.concatenate([metric(draw, part) for part in weights]) for draw in range(draws)]
    values, whole = np.stack(of_draws, axis=1)[which], np.ones((1, units))
    spread = np.sqrt(draws / (draws - 1)) if draws > 1 else 1.0
    mean = values.mean(axis=1)
    apart = np.where(shares > 0, shares * (values - mean[:, None]), 0).sum(axis=1)
    each = np.array([float(metric(draw, whole)[0]) for draw in range(draws)])
    return Bootstrapped(mean + spread * apart, each, units, units if rarest is None else rarest)


def bootstrap(metric: Metric, units: int, draws: int, rarest: int) -> tuple[float, float]:
    """Ends of the 95 % interval of a metric within 0 and 1, over units and draws."""
    low, high = np.clip(resampled(metric, units, draws, rarest).ends, 0, 1)
    return float(low), float(high)


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


def difference(gap: Metric, units: int, draws: int, rarest: int | None = None) -> Difference:
    """The mean of a paired difference; cases and draws are resampled alike on both sides."""
    found = resampled(gap, units, draws, rarest)
    return Difference(float(found.whole.mean()), *found.ends, found.p, units, draws)


def each_alone(metric: Metric, draw: int, units: int, *, without: bool = False) -> NDArray[Any]:
    """A draw's metric of each unit by itself, or without it, (units,); few units at a time."""
    out = []
    for start in range(0, units, CHUNK):
        part = np.eye(min(CHUNK, units - start), units, start)
        out.append(metric(draw, 1 - part if without else part))
    return np.concatenate(out)


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
    return by_student(float(gaps.mean()), error, len(gaps) - 1, units=0, draws=len(gaps))


def by_student(mean: float, error: float, freedom: float, *, units: int, draws: int) -> Difference:
    """A difference with its t-interval and p, from a standard error."""
    half = float(stdtrit(freedom, (1 + LEVEL) / 2)) * error
    far = abs(mean) / error if error > 0 else np.inf if mean else 0.0
    p = float(2 * stdtr(freedom, -far))
    return Difference(mean, mean - half, mean + half, p, units, draws)
