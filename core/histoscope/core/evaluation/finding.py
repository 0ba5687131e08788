"""How a class is found: what is called it without being it, and how sources rank by it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histoscope.core.data.examples import Examples
from histoscope.core.evaluation import metrics
from histoscope.core.evaluation.blocks import scored
from histoscope.core.evaluation.intervals import Ends
from histoscope.core.evaluation.units import Units

DRAWN = 50  # samples of a source, of which the highest score is expected
LEAST = 2  # units without a class, from which on calls there are counted alone


def expected_highest(scores: NDArray[np.floating], drawn: int = DRAWN) -> float:
    """The highest score that so many samples, drawn from these without repetition, will have.

    By it sources are ranked: unlike the highest of all it does not grow with the number of
    samples, and unlike their mean it tells of a class that few of them have. The i-th highest of n
    is the highest of m drawn with the probability C(n - 1 - i, m - 1) / C(n, m), i from 0.

    Args:
        scores: of the samples of one source, NaN where one could not be read; at least one number.
        drawn: m; of fewer samples all are drawn.
    """
    found = np.sort(scores[np.isfinite(scores)].astype(np.float64))[::-1]
    count = len(found)
    most = min(drawn, count)
    place = np.arange(1, count)
    passed = np.maximum(0, count - place - most + 1) / (count - place)
    return float(found @ np.cumprod(np.r_[most / count, passed]))


def finding(
    test: Examples,
    probabilities: Sequence[NDArray[np.float32]],
    called: Sequence[NDArray[np.bool_]],
    ends: Ends,
) -> dict[str, Any]:
    """Under ``finding``, by class: sources ``with`` and ``without`` it among what is labelled.

    ``auc``: how :func:`expected_highest` ranks the first before the second; None where one of them
    is missing. ``false_calls``: the part of samples without the class that were called it, all of
    sources without it (``of`` is ``sources``) where these are of two units or more, else all there
    are (``samples``); None where there is none.

    Args:
        test: what is true; of samples, or nothing is found.
        probabilities: (samples, classes) for each draw.
        called: which classes each was said to have, the same.
        ends: of a metric's interval.
    """
    if test.task.level != "sample":
        return {}
    holds, denied, units = test.truth.holds, test.truth.denied, Units.of(test.units)
    pairs = np.stack([Units.of(test.sources).place, units.place], axis=1)
    group = np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)
    sources = Units(tuple(map(str, range(group.max() + 1))), group)
    found = {}
    for place, name in enumerate(test.task.classes):
        there = sources.sums(holds[:, place]) > 0
        known = there | (sources.sums(denied[:, place]) > 0)
        scores = [one[:, place] for one in probabilities]
        wrong = [one[:, place] for one in called]
        found[name] = {
            "with": int(there.sum()),
            "without": int((known & ~there).sum()),
            "auc": _ranking(sources, units, there, known, scores, ends),
            **_false_calls(denied[:, place], ~there[sources.place], wrong, units, ends),
        }
    return {"finding": found}


def _ranking(
    sources: Units,
    of_samples: Units,
    there: NDArray[np.bool_],
    known: NDArray[np.bool_],
    scores: Sequence[NDArray[np.float32]],
    ends: Ends,
) -> dict[str, Any] | None:
    """Area under the ROC curve of sources of which it is known whether the class is there."""
    if not there.any() or not (known & ~there).any():
        return None
    first = np.unique(sources.place, return_index=True)[1]
    units = Units(of_samples.names, of_samples.place[first])
    truth, ways = there[known].astype(np.int64), []
    members = [np.flatnonzero(sources.place == place) for place in np.flatnonzero(known)]
    for one in scores:
        highest = np.array([expected_highest(one[rows]) for rows in members])
        both = np.stack([-highest, highest], axis=1).astype(np.float32)
        ways.append(metrics.auc(truth, both, units.take(known)))
    groups = there, known & ~there
    rarest = min(len(np.unique(units.place[group])) for group in groups)
    return scored(lambda draw, weights: ways[draw](weights), units, len(ways), ends, rarest)


def _false_calls(
    denied: NDArray[np.bool_],
    without: NDArray[np.bool_],
    called: Sequence[NDArray[np.bool_]],
    units: Units,
    ends: Ends,
) -> dict[str, Any]:
    """The part of samples without the class that were called it, and of which samples."""
    apart = denied & without
    of = "sources" if len(np.unique(units.place[apart])) >= LEAST else "samples"
    counted = apart if of == "sources" else denied
    if not counted.any():
        return {"false_calls": None, "of": of}
    ways = [metrics.share(one, counted, units) for one in called]
    rarest = len(np.unique(units.place[counted]))
    told = scored(lambda draw, weights: ways[draw](weights), units, len(ways), ends, rarest)
    return {"false_calls": told, "of": of}
