"""A linear probe: logistic regression on frozen features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from histoscope.core.errors import DataError


@dataclass(frozen=True)
class LinearHead:
    """Class scores of features: softmax(features · weightᵀ + bias).

    Attributes:
        weight: float32, (classes, dim).
        bias: float32, (classes,).
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(rows, dim) to (rows, classes); rows sum to 1."""
        logits = features.astype(np.float64) @ self.weight.T.astype(np.float64) + self.bias
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
        labels: class ids.
        classes: how many classes the task has.
        strength: inverse of the L2 penalty's weight, > 0.

    Raises:
        DataError: a class has no label.
    """
    missing = sorted(set(range(classes)) - set(labels.tolist()))
    if missing:
        raise DataError(f"no label of class id {missing}: every class needs one")
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    deviation = np.where(deviation > 1e-6, deviation, 1.0)
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)
    model.fit(((features - mean) / deviation).astype(np.float64), labels)
    weight, bias = model.coef_, model.intercept_
    if classes == 2:  # scikit-learn keeps one row: the second class against the first
        weight = np.concatenate([np.zeros_like(weight), weight])
        bias = np.concatenate([np.zeros_like(bias), bias])
    weight = weight / deviation
    return LinearHead(
        weight.astype(np.float32), (bias - weight @ mean.astype(np.float64)).astype(np.float32)
    )
