"""A metric as ``metrics.json`` has it: value, interval, and each draw's."""

from __future__ import annotations

from typing import Any

import numpy as np

from histoscope.core.evaluation.intervals import Ends, Metric
from histoscope.core.evaluation.units import Units


def scored(metric: Metric, units: Units, draws: int, ends: Ends, rarest: int) -> dict[str, Any]:
    """A metric of all draws; no interval where a class is in one unit, which tells of no other."""
    whole = np.ones((1, len(units)))
    per_draw = [float(metric(draw, whole)[0]) for draw in range(draws)]
    unknown = (float("nan"), float("nan"))
    low, high = ends(metric, len(units), draws, rarest) if rarest > 1 else unknown
    return block(per_draw, low, high)


def block(per_draw: list[float], low: float, high: float) -> dict[str, Any]:
    """JSON knows no NaN: what is undefined is null."""
    deviation = float(np.std(per_draw, ddof=1)) if len(per_draw) > 1 else None
    return {
        "value": _number(float(np.mean(per_draw))),
        "interval": [_number(low), _number(high)],
        "sd_over_draws": None if deviation is None else _number(deviation),
        "per_draw": [_number(value) for value in per_draw],
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
