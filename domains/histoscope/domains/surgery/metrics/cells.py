"""What is counted in a cell, one phase of one video, and the four scores of the counts."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from histoscope.core.evaluation.metrics import confusion
from histoscope.domains.surgery.metrics.spread import Floats

Ints = NDArray[np.int64]
Absent = Literal["skip", "zero"]

SCORES = ("precision", "recall", "jaccard", "f1")


def counts(truth: Ints, predicted: Ints, phases: int) -> Ints:
    """True positives, false positives and false negatives of each phase, (phases, 3)."""
    table = confusion(truth, predicted, phases)  # (true, predicted)
    hit = table.diagonal()
    return np.stack([hit, table.sum(axis=0) - hit, table.sum(axis=1) - hit], axis=1)


def cell_scores(cells: Ints, absent: Absent) -> Floats:
    """P = TP/(TP+FP), R = TP/(TP+FN), J = TP/(TP+FP+FN), F1 = 2TP/(2TP+FP+FN), in percent.

    A phase in the truth that is never predicted has P = R = J = F1 = 0, never 0/0. A phase in
    neither is undefined. A phase that is predicted but not in the truth is what ``absent`` says.

    Args:
        cells: (..., phases, 3), from :func:`counts`.
        absent: ``"skip"``: undefined; ``"zero"``: 0.

    Returns:
        (..., phases, 4) in the order of ``SCORES``; NaN where undefined.
    """
    tp, fp, fn = np.moveaxis(cells, -1, 0)
    parts = (tp, tp, tp, 2 * tp)
    wholes = (tp + fp, tp + fn, tp + fp + fn, 2 * tp + fp + fn)
    scores = np.stack(list(map(_percent, parts, wholes)), axis=-1)
    undefined = tp + fn == 0
    if absent == "zero":
        undefined &= fp == 0
    return np.where(undefined[..., None], np.nan, scores)


def accuracies(cells: Ints) -> Floats:
    """Share of right frames, in percent, (...,), of cells (..., phases, 3); NaN without a frame."""
    right, frames = cells[..., 0].sum(axis=-1), cells[..., [0, 2]].sum(axis=(-1, -2))
    return np.where(frames > 0, _percent(right, frames), np.nan)


def _percent(part: Ints, whole: Ints) -> Floats:
    return np.asarray(100.0 * part / np.maximum(whole, 1))
