"""A mean and how far it spreads; what is not defined is left out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
UNDEFINED = float("nan")


class Spread(NamedTuple):
    """A value in percent.

    Attributes:
        value: usually a mean; NaN where nothing is defined.
        sd: sample standard deviation (n - 1) of what was averaged; NaN for fewer than two.
    """

    value: float
    sd: float = UNDEFINED


def mean_defined(values: Floats, axis: int) -> Floats:
    """Mean over an axis without NaN; NaN where all are."""
    known = ~np.isnan(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def spread(values: Floats) -> Spread:
    """Mean and standard deviation of the defined ones of ``values``, (n,)."""
    known = values[~np.isnan(values)]
    if not len(known):
        return Spread(UNDEFINED)
    return Spread(float(known.mean()), float(known.std(ddof=1)) if len(known) > 1 else UNDEFINED)


def spread_of_all(values: Floats) -> Spread:
    """As :func:`spread`, but one undefined value makes the mean undefined."""
    return Spread(UNDEFINED) if np.isnan(values).any() else spread(values)
