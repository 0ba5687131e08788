"""What calling samples uncertain buys: how many keep a class, and how many of these are right.

The curve of risk and coverage of El-Yaniv and Wiener 2010, by the best score of each sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histoscope.core.data.truth import Truth
from histoscope.core.evaluation import metrics
from histoscope.core.evaluation.blocks import scored
from histoscope.core.evaluation.intervals import Ends
from histoscope.core.evaluation.units import Units

BELOW = (0.6, 0.7, 0.8, 0.9, 0.95)


def certain(
    truth: Truth, probabilities: Sequence[NDArray[np.float32]], units: Units, ends: Ends
) -> list[dict[str, Any]]:
    """For each score ``below`` which a sample would be uncertain: ``kept``, and ``right`` of them.

    Args:
        truth: of exclusive classes.
        probabilities: (examples, classes) for each draw.
        units: that are resampled.
        ends: of a metric's interval.
    """
    every = [np.ones(len(truth), np.bool_)] * len(probabilities)
    right = [one.argmax(axis=1) == truth.values for one in probabilities]
    rows = list[dict[str, Any]]()
    for below in BELOW:
        sure = [one.max(axis=1) >= below for one in probabilities]
        rows.append(
            {
                "below": below,
                "kept": _part(sure, every, units, ends),
                "right": _part(right, sure, units, ends),
            }
        )
    return rows


def _part(
    chosen: Sequence[NDArray[np.bool_]],
    among: Sequence[NDArray[np.bool_]],
    units: Units,
    ends: Ends,
) -> dict[str, Any]:
    """The part of some samples that was chosen, for each draw."""
    ways = [metrics.share(one, some, units) for one, some in zip(chosen, among, strict=True)]
    held = min(len(np.unique(units.place[some])) for some in among)
    return scored(lambda draw, weights: ways[draw](weights), units, len(ways), ends, held)
