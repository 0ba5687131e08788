"""Metrics, each with one weight a sample, so that resamples are weights.

``weights`` is (resamples, samples), counts of each sample in each resample; a plain metric is one
row of ones. A mean is over the classes of the whole sample; in a resample that lacks one of them it
is undefined (NaN), as a mean over the others would be another quantity.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def recalls(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], weights: Numbers, classes: int
) -> Numbers:
    """Recall of each class, (resamples, classes); NaN where the class is absent."""
    is_class = truth[:, None] == np.arange(classes)  # (samples, classes)
    hit = is_class & (truth == predicted)[:, None]
    total = weights @ is_class
    with np.errstate(invalid="ignore"):
        return np.where(total > 0, (weights @ hit) / total, np.nan)


def balanced_accuracy(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], weights: Numbers, classes: int
) -> Numbers:
    """Mean recall over the classes that there are, (resamples,); NaN where one is absent."""
    there = np.bincount(truth, minlength=classes) > 0
    return np.asarray(recalls(truth, predicted, weights, classes).T[there].mean(axis=0))


def accuracy(truth: NDArray[np.int64], predicted: NDArray[np.int64], weights: Numbers) -> Numbers:
    """Share of samples that are right, (resamples,)."""
    return weights @ (truth == predicted) / weights.sum(axis=1)


def auc(truth: NDArray[np.int64], probabilities: NDArray[np.float32], weights: Numbers) -> Numbers:
    """Area under the ROC curve, (resamples,); NaN where undefined.

    Two classes: of the second. More: mean over classes of one against the rest, as
    scikit-learn's ``roc_auc_score(multi_class="ovr", average="macro")``, over the classes that
    there are.
    """
    classes = probabilities.shape[1]
    if classes == 2:
        return _auc_of(truth == 1, probabilities[:, 1], weights)
    parts = [_auc_of(truth == k, probabilities[:, k], weights) for k in np.unique(truth)]
    return np.asarray(np.mean(parts, axis=0))


def _auc_of(positive: NDArray[np.bool_], scores: NDArray[np.float32], weights: Numbers) -> Numbers:
    """Share of (positive, negative) pairs in the right order; ties count half."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
    above = np.add.reduceat(weights[:, order] * positive[order], starts, axis=1)
    below = np.add.reduceat(weights[:, order] * ~positive[order], starts, axis=1)
    before = np.cumsum(below, axis=1) - below
    pairs = above.sum(axis=1) * below.sum(axis=1)
    won = (above * (before + 0.5 * below)).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(pairs > 0, won / pairs, np.nan)


def average_precision(
    truth: NDArray[np.int64], scores: NDArray[np.float32], weights: Numbers
) -> Numbers:
    """Sum over distinct scores of (recall gained) x (precision there), (resamples,).

    As scikit-learn's ``average_precision_score``; samples whose truth is -1 (unknown) are left
    out; NaN where no sample is positive.
    """
    known = truth >= 0
    truth, scores, weights = truth[known], scores[known], weights[:, known]
    if not len(truth):
        return np.full(len(weights), np.nan)
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) < 0])
    ranked = weights[:, order]
    hits = np.add.reduceat(ranked * truth[order], starts, axis=1)
    seen = np.cumsum(np.add.reduceat(ranked, starts, axis=1), axis=1)
    total = hits.sum(axis=1)
    precision = np.cumsum(hits, axis=1) / np.maximum(seen, 1e-12)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, (hits * precision).sum(axis=1) / total, np.nan)


def f1(truth: NDArray[np.int64], chosen: NDArray[np.bool_], weights: Numbers) -> Numbers:
    """2TP / (2TP + FP + FN) of one class, (resamples,); unknown truth (-1) is left out.

    NaN where the class is neither there nor chosen.
    """
    known = truth >= 0
    truth, chosen, weights = truth[known], chosen[known], weights[:, known]
    hit = weights @ ((truth == 1) & chosen)
    both = weights @ (truth == 1).astype(float) + weights @ chosen.astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(both > 0, 2 * hit / both, np.nan)


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
