"""What answers from features: linear heads and nearest neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

EVEN, NEVER = 0.5, 1.0
BLOCK = 1024  # rows that look for neighbours at once
Rows = NDArray[np.float32]
Truth = NDArray[np.int64]


class Head(Protocol):
    """Scores of classes from features.

    Attributes:
        exclusive: whether exactly one class holds.
        thresholds: float32, (classes,), from which score on a class counts as present.
    """

    @property
    def exclusive(self) -> bool:
        """Whether rows of probabilities sum to 1."""

    @property
    def cut(self) -> Rows:
        """The thresholds, 0.5 where none were fitted."""

    def probabilities(self, features: Rows) -> Rows:
        """(rows, dim) to (rows, classes); exclusive: rows sum to 1."""

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """All that a package keeps of it."""


@dataclass(frozen=True)
class LinearHead:
    """Class scores of features: features · weightᵀ + bias, through softmax or, each, sigmoid.

    Attributes:
        weight: float32, (classes, dim).
        bias: float32, (classes,).
        exclusive: softmax over the classes; else a sigmoid for each.
        thresholds: float32, (classes,), for classes that are not exclusive.
        centre: float32, (dim,): features are taken from here, at unit length; None: as they are.
    """

    weight: Rows
    bias: Rows
    exclusive: bool = True
    thresholds: Rows | None = None
    centre: Rows | None = None

    @property
    def cut(self) -> Rows:
        """The thresholds, 0.5 where none were fitted."""
        return _cut(self.thresholds, len(self.bias))

    def logits(self, features: Rows) -> NDArray[np.float64]:
        """(rows, dim) to (rows, classes), before softmax or sigmoid."""
        rows = features if self.centre is None else unit_rows(features, self.centre)
        return rows.astype(np.float64) @ self.weight.T.astype(np.float64) + self.bias

    def probabilities(self, features: Rows) -> Rows:
        """(rows, dim) to (rows, classes); exclusive: rows sum to 1."""
        logits = self.logits(features)
        if not self.exclusive:
            return (0.5 * (1 + np.tanh(0.5 * logits))).astype(np.float32)
        logits -= logits.max(axis=1, keepdims=True)
        powers = np.exp(logits)
        return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """``weight``, ``bias`` and, where there is one, ``centre``."""
        kept: dict[str, NDArray[np.generic]] = {"weight": self.weight, "bias": self.bias}
        return kept if self.centre is None else {**kept, "centre": self.centre}


@dataclass(frozen=True)
class NeighbourHead:
    """The share of each class among the nearest labelled samples, by cosine about a centre.

    Attributes:
        features: float32, (labels, dim), at unit length.
        truth: 1, 0 or -1 (unknown), (labels, classes).
        neighbours: how many vote, each with one vote; at most those that know of the class.
        centre: float32, (dim,).
        exclusive: whether exactly one class holds.
        thresholds: float32, (classes,), for classes that are not exclusive.
    """

    features: Rows
    truth: Truth
    neighbours: int
    centre: Rows
    exclusive: bool = True
    thresholds: Rows | None = None

    @property
    def cut(self) -> Rows:
        """The thresholds, 0.5 where none were fitted."""
        return _cut(self.thresholds, self.truth.shape[1])

    def probabilities(self, features: Rows) -> Rows:
        """(rows, dim) to (rows, classes), in steps of 1 / neighbours."""
        rows = unit_rows(features, self.centre)
        parts = [
            vote(rows[start : start + BLOCK] @ self.features.T, self.truth, self.neighbours)
            for start in range(0, len(rows), BLOCK)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self.truth.shape[1]), np.float32)

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """``features``, ``truth``, ``neighbours`` and ``centre``."""
        return {
            "features": self.features,
            "truth": self.truth,
            "neighbours": np.array(self.neighbours, np.int64),
            "centre": self.centre,
        }


def vote(nearness: Rows, truth: Truth, neighbours: int) -> Rows:
    """Share of present among the nearest that know of a class; 0 where none does.

    Args:
        nearness: (rows, labels); the first of equals is nearer; -inf never votes.
        truth: 1, 0 or -1 (unknown), (labels, classes).
        neighbours: how many vote.
    """
    order = np.argsort(-nearness, axis=1, kind="stable")
    out = np.zeros((len(nearness), truth.shape[1]), np.float32)
    for place in range(truth.shape[1]):
        known = truth[:, place] >= 0
        if not known.any():
            continue
        ranked = order[known[order]].reshape(len(order), -1)[:, :neighbours]
        votes = np.isfinite(np.take_along_axis(nearness, ranked, axis=1))
        present = (truth[ranked, place] * votes).sum(axis=1)
        out[:, place] = present / np.maximum(votes.sum(axis=1), 1)
    return out


def unit_rows(features: Rows, centre: Rows) -> Rows:
    """Features seen from a centre, at unit length (Wang et al. 2019, "SimpleShot", CL2N)."""
    away = features - centre
    length = np.linalg.norm(away, axis=1, keepdims=True)
    return np.asarray(away / np.maximum(length, 1e-12), np.float32)


def _cut(thresholds: Rows | None, classes: int) -> Rows:
    return np.full(classes, EVEN, np.float32) if thresholds is None else thresholds
