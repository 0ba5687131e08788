"""The relaxed metrics as most papers on Cholec80 print them: the faults are kept, to compare.

The script (Evaluate.m with Main.m in TMRNet, SV-RCNet, SAHC and others) means to forgive what
``relaxed`` forgives. What it does instead, with ids from 1 in the order of Cholec80:

- The mask of a segment's last 10 s is applied to its first rows.
- A forgiven row counts as true positive for the phase in the truth and for the one predicted, so
  P and R exceed 100, and are cut to 100 then.
- A phase never predicted has P = 0/0, which drops out of the mean, or x/0, which becomes 100. A
  phase absent in the truth is left out even where it is predicted.
- Neighbours are taken by id, whichever phase really came before or after.
- The reader takes the first row of each file for a header.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from histoscope.domains.surgery.metrics.cells import Ints
from histoscope.domains.surgery.metrics.spread import (
    UNDEFINED,
    Floats,
    Spread,
    mean_defined,
    spread,
    spread_of_all,
)

SECONDS = 10.0
LAST_PHASES = 4  # dissection, packaging, cleaning, retraction may follow one another in any order
WIDE_START_PHASES = 2  # cleaning and retraction: two ids back are forgiven as well


def published_differences(truth: Ints, predicted: Ints, phases: int, window: int) -> Ints:
    """Predicted minus true id, with 0 where the script forgives, (rows,).

    Args:
        truth, predicted: class ids in the order of Cholec80, (rows,).
        phases: how many there are (m2cai16 has one more in front).
        window: rows in 10 s.
    """
    differences = predicted - truth
    changes = np.flatnonzero(np.diff(truth)) + 1
    for segment in np.split(np.arange(len(truth)), changes):
        if not len(segment):
            continue
        phase, rows = truth[segment[0]], min(window, len(segment))
        back = [-1, -2] if phase >= phases - WIDE_START_PHASES else [-1]
        ahead = [1, 2] if phase >= phases - LAST_PHASES else [1]
        current = differences[segment]
        head = current[:rows]  # a view: what is forgiven here is forgiven in `current`
        head[np.isin(head, back)] = 0
        head[np.isin(current[len(current) - rows :], ahead)] = 0  # the tail's mask, on the head
        differences[segment] = current
    return differences


def published_cells(truth: Ints, predicted: Ints, phases: int, window: int) -> Floats:
    """J, P and R of each phase, in percent, (phases, 3); NaN as in the script."""
    right = published_differences(truth, predicted, phases, window) == 0
    cells = np.full((phases, 3), np.nan)
    for phase in np.unique(truth):
        is_true, is_predicted = truth == phase, predicted == phase
        either = is_true | is_predicted
        hits = np.float64(np.sum(right & either))
        wholes = np.array([either.sum(), is_predicted.sum(), is_true.sum()], np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            cells[phase] = 100 * hits / wholes
    return np.where(cells > 100, 100.0, cells)  # x/0 is infinite, so 100; 0/0 stays NaN


def relaxed_10s_as_published(
    videos: Sequence[tuple[Ints, Ints]], phases: int, fps: float
) -> Mapping[str, Spread]:
    """What the script prints for these videos.

    Args:
        videos: truth and prediction of each, class ids in the order of Cholec80.
        phases: how many there are.
        fps: rows a second; the script's constant.

    Returns:
        Means over phases (of means over videos) and their sd; accuracy over videos. F1 is
        undefined, the script has none. J and R are undefined when a phase is in no video's truth,
        P is not: so is the script.
    """
    window = round(SECONDS * fps)
    cells, accuracy = [], []
    for truth, predicted in videos:
        kept = (truth[1:], predicted[1:])  # the first row is lost as a header
        cells.append(published_cells(*kept, phases, window))
        right = published_differences(*kept, phases, window) == 0
        accuracy.append(100 * float(right.mean()) if len(right) else UNDEFINED)
    jaccard, precision, recall = mean_defined(np.stack(cells), axis=0).T  # each (phases,)
    return {
        "accuracy": spread_of_all(np.array(accuracy)),
        "precision": spread(precision),
        "recall": spread_of_all(recall),
        "jaccard": spread_of_all(jaccard),
        "f1": Spread(UNDEFINED),
    }
