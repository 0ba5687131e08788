"""What is counted in a cell, and three ways to make one number of the cells of many videos."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from histoscope.core.evaluation.metrics import confusion
from histoscope.domains.surgery.metrics.spread import Floats, Ints, Spread, mean_defined, spread

Absent = Literal["skip", "zero"]
Scores = Mapping[str, Spread]

SCORES = ("precision", "recall", "jaccard", "f1")
F1_OF_MEANS = "f1_of_mean_precision_and_recall"


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


def phase_first(cells: Ints, absent: Absent = "skip") -> Scores:
    """Mean over the videos that have a phase, then over phases; sd over phases.

    Of cells (videos, phases, 3), as the others below. Accuracy is the mean over videos, its sd over
    videos. The tables of the TMRNet line of papers use this; some of them give the F1 of the mean P
    and R, which is some two points higher, so both are here.
    """
    scores = dict(over_phases(cells, absent))
    p, r = scores["precision"].value, scores["recall"].value
    scores[F1_OF_MEANS] = Spread(2 * p * r / (p + r) if p + r > 0 else p + r)
    return scores


def over_phases(cells: Ints, absent: Absent) -> Scores:
    """:func:`phase_first` without the second F1."""
    return _spreads(cells, mean_defined(cell_scores(cells, absent), axis=0))  # (phases, 4)


def video_first(cells: Ints, absent: Absent = "zero") -> Scores:
    """Mean over the phases of a video, then over videos; sd over videos.

    With ``"zero"`` the phases of a video are those in its truth or its prediction: scikit-learn's
    ``average="macro"`` of each video. The tables of SelfSupSurg use this.
    """
    return _spreads(cells, mean_defined(cell_scores(cells, absent), axis=1))  # (videos, 4)


def _spreads(cells: Ints, means: Floats) -> Scores:
    scores = zip(SCORES, means.T, strict=True)
    return {"accuracy": spread(accuracies(cells))} | {name: spread(one) for name, one in scores}


def pooled(cells: Ints, absent: Absent = "zero") -> Scores:
    """One confusion matrix of all frames, then the mean over phases; no sd."""
    together = cells.sum(axis=0)
    means = mean_defined(cell_scores(together, absent), axis=0)  # (4,)
    return {"accuracy": Spread(float(accuracies(together)))} | {
        name: Spread(float(means[place])) for place, name in enumerate(SCORES)
    }


def per_phase(cells: Ints, absent: Absent = "skip") -> list[dict[str, Spread]]:
    """Mean and sd over videos of each phase, in the order of the ids."""
    scores = cell_scores(cells, absent)  # (videos, phases, 4)
    return [
        {name: spread(scores[:, phase, place]) for place, name in enumerate(SCORES)}
        for phase in range(np.shape(scores)[1])
    ]
