"""Metrics of resamples: each is made once of samples, then asked for weights of units.

Weights are (resamples, units): how often each unit, with all its samples, is in each resample; the
whole is one row of ones. A mean is over the classes of the whole sample; in a resample that lacks
one of them it is undefined (NaN), as a mean over the others would be another quantity.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from histoscope.core.evaluation.units import Units

Numbers = NDArray[np.float64]
Weighted = Callable[[Numbers], Numbers]
CELLS = 20_000_000  # of such a table
TABLE = 200  # units up to which scores are counted unit by unit, which costs their square once


def _ratio(over: Numbers, under: Numbers) -> Weighted:
    """Weighted sums of two tables (units, ...), divided; NaN where the lower one is 0."""

    def ratio(weights: Numbers) -> Numbers:
        total = weights @ under
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(total > 0, (weights @ over) / total, np.nan)

    return ratio


def recalls(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], units: Units, classes: int
) -> Weighted:
    """Recall of each class, (resamples, classes); NaN where the class is absent."""
    is_class = truth[:, None] == np.arange(classes)  # (samples, classes)
    hit = is_class & (truth == predicted)[:, None]
    return _ratio(units.sums(hit), units.sums(is_class))


def balanced_accuracy(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], units: Units, classes: int
) -> Weighted:
    """Mean recall over the classes that there are, (resamples,); NaN where one is absent."""
    there = np.bincount(truth, minlength=classes) > 0
    each = recalls(truth, predicted, units, classes)
    return lambda weights: np.asarray(each(weights).T[there].mean(axis=0))


def accuracy(truth: NDArray[np.int64], predicted: NDArray[np.int64], units: Units) -> Weighted:
    """Share of samples that are right, (resamples,)."""
    return _ratio(units.sums(truth == predicted), units.sums(np.ones(len(truth))))


def share(chosen: NDArray[np.bool_], among: NDArray[np.bool_], units: Units) -> Weighted:
    """Part of some samples that were chosen, (resamples,); NaN where there is none of them."""
    return _ratio(units.sums(chosen & among), units.sums(among))


def f1(truth: NDArray[np.int64], chosen: NDArray[np.bool_], units: Units) -> Weighted:
    """2TP / (2TP + FP + FN) of one class, (resamples,); unknown truth (-1) is left out.

    NaN where the class is neither there nor chosen.
    """
    known = truth >= 0
    truth, chosen, units = truth[known], chosen[known], units.take(known)
    hit = units.sums((truth == 1) & chosen)
    both = units.sums(truth == 1) + units.sums(chosen)
    return _ratio(2 * hit, both)


def auc(truth: NDArray[np.int64], probabilities: NDArray[np.float32], units: Units) -> Weighted:
    """Area under the ROC curve, (resamples,); NaN where undefined.

    Two classes: of the second. More: mean over classes of one against the rest, as
    scikit-learn's ``roc_auc_score(multi_class="ovr", average="macro")``, over the classes that
    there are.
    """
    known = [1] if probabilities.shape[1] == 2 else np.unique(truth).tolist()
    way = _auc_by_units if len(units) <= TABLE else _auc_by_samples
    parts = [way(truth == kind, probabilities[:, kind], units) for kind in known]
    return lambda weights: np.asarray(np.mean([part(weights) for part in parts], axis=0))


def _auc_by_units(
    positive: NDArray[np.bool_], scores: NDArray[np.float32], units: Units
) -> Weighted:
    """Share of (positive, negative) pairs in the right order; ties count half."""
    won = np.zeros((len(units), len(units)))  # of a unit's positives over a unit's negatives
    above, own = scores[positive], units.take(positive)
    for place in range(len(units)):
        below = np.sort(scores[~positive & (units.place == place)])
        wins = np.searchsorted(below, above, "left") + np.searchsorted(below, above, "right")
        won[:, place] = own.sums(wins / 2)
    counts, others = own.sums(np.ones(len(above))), units.sums(~positive)

    def share(weights: Numbers) -> Numbers:
        pairs = (weights @ counts) * (weights @ others)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(pairs > 0, ((weights @ won) * weights).sum(axis=1) / pairs, np.nan)

    return share


def _auc_by_samples(
    positive: NDArray[np.bool_], scores: NDArray[np.float32], units: Units
) -> Weighted:
    """As :func:`_auc_by_units`, where units are too many for a table of pairs."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
    place, is_positive = units.place[order], positive[order]

    def share(weights: Numbers) -> Numbers:
        ranked = weights[:, place]
        above = np.add.reduceat(ranked * is_positive, starts, axis=1)
        below = np.add.reduceat(ranked * ~is_positive, starts, axis=1)
        before = np.cumsum(below, axis=1) - below
        pairs = above.sum(axis=1) * below.sum(axis=1)
        won = (above * (before + 0.5 * below)).sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(pairs > 0, won / pairs, np.nan)

    return share


def average_precision(
    truth: NDArray[np.int64], scores: NDArray[np.float32], units: Units
) -> Weighted:
    """Sum over distinct scores of (recall gained) x (precision there), (resamples,).

    As scikit-learn's ``average_precision_score``; samples whose truth is -1 (unknown) are left
    out; NaN where no sample is positive.
    """
    known = truth >= 0
    truth, scores, units = truth[known], scores[known], units.take(known)
    if not (truth == 1).any():
        return lambda weights: np.full(len(weights), np.nan)
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) < 0])
    place, is_positive = units.place[order], truth[order] == 1
    if len(units) > TABLE or len(units) * len(starts) > CELLS:
        return lambda weights: _precision(
            np.add.reduceat(weights[:, place] * is_positive, starts, axis=1),
            np.cumsum(np.add.reduceat(weights[:, place], starts, axis=1), axis=1),
        )
    at = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(order)]))
    gained, seen = np.zeros((2, len(starts), len(units)), np.float32)  # whole numbers: exact
    np.add.at(gained, (at, place), is_positive)
    np.add.at(seen, (at, place), 1)
    told = gained.any(axis=1)  # other scores gain nothing
    gains, below = gained[told].T, np.cumsum(seen, axis=0)[told].T

    def counted(weights: Numbers) -> Numbers:
        few = weights.astype(np.float32)
        return _precision(few @ gains, few @ below)

    return remembered(counted)


def _precision(hits: NDArray[np.floating], seen: NDArray[np.floating]) -> Numbers:
    """Average precision from positives gained and samples seen at each score, high to low."""
    so_far = np.cumsum(hits, axis=1)
    precision = np.divide(so_far, np.maximum(seen, 1e-12), dtype=np.float64)
    total = so_far[:, -1].astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, np.einsum("ij,ij->i", hits, precision) / total, np.nan)


def remembered(way: Weighted) -> Weighted:
    """A metric that is asked of the same weights more than once."""
    known: dict[int, tuple[Numbers, Numbers]] = {}

    def once(weights: Numbers) -> Numbers:
        if id(weights) not in known:
            known[id(weights)] = weights, way(weights)  # kept, so that no other gets its id
        return known[id(weights)][1]

    return once


def mean_where_defined(parts: Numbers) -> Numbers:
    """Mean over the first axis without NaN, NaN where all are."""
    defined = ~np.isnan(parts)
    count = defined.sum(axis=0)
    return np.where(count > 0, np.nansum(parts, axis=0) / np.maximum(1, count), np.nan)


def confusion(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Counts, (true class, predicted class)."""
    out = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(out, (truth, predicted), 1)
    return out
