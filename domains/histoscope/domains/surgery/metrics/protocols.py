"""Three ways to make one number of many cells. Each takes cells (videos, phases, 3)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from histoscope.domains.surgery.metrics.cells import (
    SCORES,
    Absent,
    Ints,
    accuracies,
    cell_scores,
)
from histoscope.domains.surgery.metrics.spread import Spread, mean_defined, spread

Scores = Mapping[str, Spread]
F1_OF_MEANS = "f1_of_mean_precision_and_recall"


def phase_first(cells: Ints, absent: Absent = "skip") -> Scores:
    """Mean over the videos that have a phase, then over phases; sd over phases.

    Accuracy is the mean over videos, its sd over videos. The tables of the TMRNet line of papers
    use this; some of them give the F1 of the mean P and R, which is some two points higher, so
    both are here.
    """
    scores = dict(over_phases(cells, absent))
    p, r = scores["precision"].value, scores["recall"].value
    scores[F1_OF_MEANS] = Spread(2 * p * r / (p + r) if p + r > 0 else p + r)
    return scores


def over_phases(cells: Ints, absent: Absent) -> Scores:
    """:func:`phase_first` without the second F1."""
    per_phase = mean_defined(cell_scores(cells, absent), axis=0)  # (phases, 4)
    return {"accuracy": spread(accuracies(cells))} | {
        name: spread(per_phase[:, place]) for place, name in enumerate(SCORES)
    }


def video_first(cells: Ints, absent: Absent = "zero") -> Scores:
    """Mean over the phases of a video, then over videos; sd over videos.

    With ``"zero"`` the phases of a video are those in its truth or its prediction: scikit-learn's
    ``average="macro"`` of each video. The tables of SelfSupSurg use this.
    """
    per_video = mean_defined(cell_scores(cells, absent), axis=1)  # (videos, 4)
    return {"accuracy": spread(accuracies(cells))} | {
        name: spread(per_video[:, place]) for place, name in enumerate(SCORES)
    }


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
