"""A linear probe: logistic regression on frozen features."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from histoscope.core.errors import DataError

EVEN, NEVER = 0.5, 1.0
FOLDS = 5
LEAST = 10  # samples with and without a class, below which no threshold is fitted
_FLAT = 1e-6


@dataclass(frozen=True)
class LinearHead:
    """Class scores of features: features · weightᵀ + bias, through softmax or, each, sigmoid.

    Attributes:
        weight: float32, (classes, dim).
        bias: float32, (classes,).
        exclusive: softmax over the classes; else a sigmoid for each.
        thresholds: float32, (classes,), for classes that are not exclusive.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    exclusive: bool = True
    thresholds: NDArray[np.float32] | None = None

    @property
    def cut(self) -> NDArray[np.float32]:
        """The thresholds, 0.5 where none were fitted."""
        if self.thresholds is None:
            return np.full(len(self.bias), EVEN, np.float32)
        return self.thresholds

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(rows, dim) to (rows, classes); exclusive: rows sum to 1."""
        logits = features.astype(np.float64) @ self.weight.T.astype(np.float64) + self.bias
        if not self.exclusive:
            return (0.5 * (1 + np.tanh(0.5 * logits))).astype(np.float32)
        logits -= logits.max(axis=1, keepdims=True)
        powers = np.exp(logits)
        return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def fit_probe(
    features: NDArray[np.float32], labels: NDArray[np.int64], classes: int, strength: float
) -> LinearHead:
    """Fit on the labels of one draw alone; features are standardised by these same rows.

    The standardisation is folded into the weights, so the head takes raw features. Classes are
    weighted by the inverse of their counts. scikit-learn's L-BFGS; ``strength`` is its C.

    Args:
        features: (labels, dim).
        labels: class ids, (labels,), or 1, 0, -1 (unknown) for each class, (labels, classes).
        classes: how many classes the task has.
        strength: inverse of the L2 penalty's weight, > 0.

    Raises:
        DataError: an exclusive class has no label.
    """
    if labels.ndim == 2:
        return _fit_each(features, labels, strength)
    missing = sorted(set(range(classes)) - set(labels.tolist()))
    if missing:
        raise DataError(f"no label of class id {missing}: every class needs one")
    weight, bias = _fit(features, labels, strength)
    if classes == 2:  # scikit-learn keeps one row: the second class against the first
        weight = np.concatenate([np.zeros_like(weight), weight])
        bias = np.concatenate([np.zeros_like(bias), bias])
    return LinearHead(weight.astype(np.float32), bias.astype(np.float32))


def _fit(
    features: NDArray[np.float32], labels: NDArray[np.int64], strength: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight and bias for raw features, as scikit-learn shapes them."""
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    deviation = np.where(deviation > _FLAT, deviation, 1.0)
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)
    model.fit(((features - mean) / deviation).astype(np.float64), labels)
    weight = model.coef_ / deviation
    return weight, model.intercept_ - weight @ mean.astype(np.float64)


def _fit_each(
    features: NDArray[np.float32], labels: NDArray[np.int64], strength: float
) -> LinearHead:
    """One regression a class, on the rows where it is known.

    A class that is everywhere present or everywhere absent there gets its frequency (add one
    half to both counts), whatever the features.
    """
    dim, classes = features.shape[1], labels.shape[1]
    weight, bias = np.zeros((classes, dim)), np.zeros(classes)
    for place in range(classes):
        known = labels[:, place] >= 0
        truth = labels[known, place]
        present = int(truth.sum())
        if 0 < present < len(truth):
            one, offset = _fit(features[known], truth, strength)
            weight[place], bias[place] = one[0], offset[0]
        else:
            bias[place] = np.log((present + 0.5) / (len(truth) - present + 0.5))
    return LinearHead(weight.astype(np.float32), bias.astype(np.float32), exclusive=False)


def with_thresholds(
    head: LinearHead, features: NDArray[np.float32], labels: NDArray[np.int64], strength: float
) -> LinearHead:
    """Add the threshold of each class that is best for F1, by cross-validation in the draw.

    A class with fewer than ten rows on either side keeps 0.5; one that no row knows of is never
    said to be present.

    Args:
        head: of classes that are not exclusive.
        features, labels: of the draw, as in :func:`fit_probe`.
        strength: as in :func:`fit_probe`.
    """
    cut = np.full(len(head.bias), EVEN, np.float32)
    for place in range(len(cut)):
        known = labels[:, place] >= 0
        truth = labels[known, place]
        if not len(truth):
            cut[place] = NEVER
            continue
        if min(truth.sum(), len(truth) - truth.sum()) < LEAST:
            continue
        inside = features[known]
        scores = np.zeros(len(truth), np.float32)
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
        for fit, held in folds.split(inside, truth):
            one = _fit_each(inside[fit], truth[fit, None], strength)
            scores[held] = one.probabilities(inside[held])[:, 0]
        cut[place] = best_threshold(truth, scores)
    return replace(head, thresholds=cut)


def best_threshold(truth: NDArray[np.int64], scores: NDArray[np.float32]) -> float:
    """The cut, half way between two neighbouring scores, with the best F1 (the lowest if equal).

    Args:
        truth: 1 or 0, (rows,), at least one 1.
        scores: (rows,); a row counts as present from the cut on.
    """
    order = np.argsort(scores, kind="stable")
    ranked, hits = scores[order].astype(np.float64), truth[order]
    middles = np.r_[ranked[0], (ranked[1:] + ranked[:-1]) / 2]
    starts = np.r_[True, np.diff(ranked) > 0]  # a cut between equal scores is none
    above = np.cumsum(hits[::-1])[::-1]  # hits from this place on
    f1 = 2 * above / (np.arange(len(hits), 0, -1) + hits.sum())
    return float(middles[np.where(starts, f1, -1).argmax()])
