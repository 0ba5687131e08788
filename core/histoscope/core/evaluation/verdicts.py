"""What may be said of differences: one named beforehand, the rest corrected for their number."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from typing import Literal

from histoscope.core.evaluation.intervals import LEVEL

Verdict = Literal["better", "worse", "no larger difference", "not told apart"]


def verdict(low: float, high: float, p: float, margin: float | None = None) -> Verdict:
    """One of four, of a difference with its 95 % interval.

    Args:
        low, high: ends of the interval; NaN is unknown.
        p: corrected where there are others.
        margin: differences up to this do not matter; the interval that lies inside says so, also
            where 0 is outside of it.
    """
    if margin is not None and -margin < low and high < margin:
        return "no larger difference"
    if p < 1 - LEVEL and (low > 0 or high < 0):
        return "better" if low > 0 else "worse"
    return "not told apart"


def holm(p_values: Sequence[float]) -> list[float]:
    """P corrected for their number, in order (Holm 1979); NaN counts as 1 and stays NaN."""
    ranked = sorted(range(len(p_values)), key=lambda at: _known(p_values[at]))
    out, largest = [0.0] * len(ranked), 0.0
    for place, at in enumerate(ranked):
        largest = max(largest, min(1.0, (len(ranked) - place) * _known(p_values[at])))
        out[at] = p_values[at] if isnan(p_values[at]) else largest
    return out


def _known(p: float) -> float:
    return 1.0 if isnan(p) else p
