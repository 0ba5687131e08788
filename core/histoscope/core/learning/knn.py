"""Nearest neighbours among the labels of one draw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from histoscope.core.heads.contract import Rows, Truth
from histoscope.core.heads.neighbours import NeighbourHead, vote
from histoscope.core.heads.unit import unit_rows


def fit_neighbours(
    features: Rows, labels: Truth, classes: int, centre: Rows, counts: Sequence[int]
) -> NeighbourHead:
    """Keep the labelled features; choose how many neighbours vote by leaving one out.

    The chosen number has the best balanced accuracy (mean over classes of the share of present and
    of absent rows on the right side of one half); the smaller of equals. Numbers above the labels
    of the draw less one are left out, unless all are.

    Args:
        features: (labels, dim).
        labels: class ids, (labels,), or 1, 0, -1 (unknown) for each class, (labels, classes).
        classes: how many classes the task has.
        centre: (dim,), see :func:`unit_rows`.
        counts: the numbers to choose from.
    """
    rows = unit_rows(features, centre)
    exclusive = labels.ndim == 1
    truth = np.eye(classes, dtype=np.int64)[labels] if exclusive else labels
    nearness = rows @ rows.T
    np.fill_diagonal(nearness, -np.inf)  # a row is not its own neighbour
    usable = [count for count in sorted(counts) if count < len(rows)] or [1]
    scores = [_right(vote(nearness, truth, count), truth, exclusive) for count in usable]
    best = usable[int(np.argmax(scores))]
    return NeighbourHead(rows, truth, best, centre, exclusive)


def _right(votes: Rows, truth: Truth, exclusive: bool) -> float:
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
