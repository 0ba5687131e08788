"""Heads that ask the nearest labelled samples, and how they are fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from histoscope.core.contracts import Level, Task
from histoscope.core.heads.contract import (
    Bags,
    Labels,
    Rows,
    Tensors,
    check_tensors,
    cut_of,
    unit_rows,
)

BLOCK = 1024  # rows that look for neighbours at once


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
    truth: Labels
    neighbours: int
    centre: Rows
    exclusive: bool = True
    thresholds: Rows | None = None
    kind: ClassVar[str] = "neighbours"
    level: ClassVar[Level] = "sample"

    @classmethod
    def of(cls, tensors: Tensors, task: Task, dim: int, thresholds: Rows | None) -> Self:
        """See :class:`Head`."""
        classes = len(task.classes)
        labels = len(tensors["truth"]) if np.ndim(tensors.get("truth", 0)) else 0
        shapes = {"features": (labels, dim), "truth": (labels, classes)}
        check_tensors(tensors, {**shapes, "neighbours": (), "centre": (dim,)})
        truth, count = tensors["truth"], tensors["neighbours"]
        whole = [name for name, values in tensors.items() if values.dtype == np.int64]
        if sorted(whole) != ["neighbours", "truth"] or not labels:
            raise ValueError("truth and neighbours are whole numbers, one row a label")
        if not np.isin(truth, (-1, 0, 1)).all() or count < 1:
            raise ValueError("truth is 1, 0 or -1, and one or more neighbours vote")
        features, centre = tensors["features"], tensors["centre"]
        return cls(features, truth, int(count), centre, task.exclusive, thresholds)

    @property
    def cut(self) -> Rows:
        """The thresholds, 0.5 where none were fitted."""
        return cut_of(self.thresholds, self.truth.shape[1])

    def probabilities(self, bags: Bags) -> Rows:
        """(bags, classes), in steps of 1 / neighbours."""
        rows = unit_rows(bags.features, self.centre)
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


def vote(nearness: Rows, truth: Labels, neighbours: int) -> Rows:
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


def fit_neighbours(
    features: Rows,
    labels: Labels,
    classes: int,
    centre: Rows,
    counts: Sequence[int],
    units: Sequence[str] | None = None,
) -> NeighbourHead:
    """Keep the labelled features; choose how many neighbours vote by leaving one unit out.

    The chosen number has the best balanced accuracy (mean over classes of the share of present and
    of absent rows on the right side of one half); the smaller of equals. Numbers above the labels
    of the draw less one are left out, unless all are.

    Args:
        features: (labels, dim).
        labels: class ids, (labels,), or 1, 0, -1 (unknown) for each class, (labels, classes).
        classes: how many classes the task has.
        centre: (dim,), see :func:`unit_rows`.
        counts: the numbers to choose from.
        units: case (else source or sample) of each label, of which none votes on another while
            numbers are compared; None, or all of one unit: each label is its own.
    """
    rows = unit_rows(features, centre)
    exclusive = labels.ndim == 1
    truth = np.eye(classes, dtype=np.int64)[labels] if exclusive else labels
    nearness = rows @ rows.T
    own = np.arange(len(rows)) if units is None else np.unique(units, return_inverse=True)[1]
    if len(np.unique(own)) < 2:
        own = np.arange(len(rows))
    nearness[own[:, None] == own] = -np.inf  # a row is not its own neighbour
    usable = [count for count in sorted(counts) if count < len(rows)] or [1]
    scores = [_right(vote(nearness, truth, count), truth, exclusive) for count in usable]
    best = usable[int(np.argmax(scores))]
    return NeighbourHead(rows, truth, best, centre, exclusive)


def _right(votes: Rows, truth: Labels, exclusive: bool) -> float:
    chosen = votes >= 0.5
    if exclusive:
        chosen = votes.argmax(axis=1)[:, None] == np.arange(truth.shape[1])
    recalls = [
        (chosen[truth[:, place] == side, place] == side).mean()
        for place in range(truth.shape[1])
        for side in ((1,) if exclusive else (0, 1))
        if (truth[:, place] == side).any()
    ]
    return float(np.mean(recalls))
