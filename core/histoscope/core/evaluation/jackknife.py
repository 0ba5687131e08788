"""Intervals of few cases from out-of-fold predictions: leaving one case out, and sign flips.

Folds share training cases, so what is left out does not tell all that another sample of patients
would change: the intervals are approximate (Bengio and Grandvalet 2004, "No unbiased estimator of
the variance of k-fold cross-validation").
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from histoscope.core.evaluation.intervals import (
    LEAST,
    Difference,
    Metric,
    by_student,
    each_alone,
    freedom,
)
from histoscope.core.randomness import generator

EXACT = 16  # cases up to which all sign flips are tried
FLIPS = 20_000


def pseudo_values(metric: Metric, units: int, draws: int) -> NDArray[np.float64]:
    """What each case adds to the mean over draws, (units,): n whole - (n - 1) without it.

    Efron and Tibshirani 1993, "An Introduction to the Bootstrap", equation 11.12. NaN where the
    metric is undefined without the case.
    """
    whole, without = _values(metric, units, draws, units)
    return np.asarray(units * whole.mean() - (units - 1) * without.mean(axis=0))


def jackknife(metric: Metric, units: int, draws: int, rarest: int | None = None) -> Difference:
    """The mean over draws, with a t-interval over cases.

    The squared error is that of the pseudo-values' mean, and of several draws the variance of
    their mean, too. Degrees of freedom are one less the units that hold the rarest class that
    counts, or fewer where few draws make much of the error. Undefined (NaN) ends below 5 units,
    where the metric is undefined without one of them, or all are alike.
    """
    few = units < LEAST
    whole, without = _values(metric, 0 if few else units, draws, units)
    mean, nothing = float(whole.mean()), float("nan")
    if few or np.isnan(without).any():
        return Difference(mean, nothing, nothing, nothing, units, draws)
    left_out = without.mean(axis=0)
    of_units = float((units - 1) / units * ((left_out - left_out.mean()) ** 2).sum())
    of_draws = float(whole.var(ddof=1)) / draws if draws > 1 else 0.0
    square, most = of_units + of_draws, (units if rarest is None else rarest) - 1
    if square < 1e-24:
        return Difference(mean, nothing, nothing, nothing, units, draws)
    known_by = freedom(of_units, of_draws, most, draws)
    return by_student(mean, float(np.sqrt(square)), known_by, units=units, draws=draws)


def jackknife_ends(metric: Metric, units: int, draws: int, rarest: int) -> tuple[float, float]:
    """Ends of the interval of :func:`jackknife`, of a metric that lies within 0 and 1."""
    found = jackknife(metric, units, draws, rarest)
    low, high = np.clip([found.low, found.high], 0, 1)
    return float(low), float(high)


def _values(
    metric: Metric, left_out: int, draws: int, units: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each draw the whole, (draws,), and the metric without each unit, (draws, left_out)."""
    all_ = np.ones((1, units))
    whole = np.array([float(metric(draw, all_)[0]) for draw in range(draws)])
    if not left_out:
        return whole, np.zeros((draws, 0))
    without = [each_alone(metric, draw, units, without=True) for draw in range(draws)]
    return whole, np.stack(without)


def sign_flip(values: NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """Two-sided p of a mean of 0 when each case's sign could as well be the other, and its least.

    Fisher 1935. Up to 16 cases all 2^n flips are tried and the least p is 2 / 2^n; above, 20,000
    are drawn and it is 1 / 20,001.

    Args:
        values: one a case, as :func:`pseudo_values` of a difference.
        seed: of drawn flips.
    """
    count = len(values)
    if np.isnan(values).any() or not count:
        return float("nan"), float("nan")
    exact = count <= EXACT
    if exact:
        flips = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
    else:
        flips = generator(seed, "sign-flip").choice([-1, 1], size=(FLIPS, count))
    found, told = np.abs(flips @ values), abs(values.sum())
    hits = int((found >= told * (1 - 1e-12)).sum())
    if exact:
        return hits / len(flips), 2 / len(flips)
    return (hits + 1) / (FLIPS + 1), 1 / (FLIPS + 1)
