"""Ten seconds of forgiveness at the ends of a true segment: as meant, and as most papers print it.

Where one phase ends and the next begins is a matter of seconds, on which two surgeons differ.
:func:`forgive` lets no value exceed 100; the other keeps the faults of the field, to compare.

The script (Evaluate.m with Main.m in TMRNet, SV-RCNet, SAHC and others) means to forgive what
:func:`forgive` forgives. What it does instead, with ids from 1 in the order of Cholec80:

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

from histoscope.domains.surgery.metrics.segmental import runs
from histoscope.domains.surgery.metrics.spread import (
    UNDEFINED,
    Floats,
    Ints,
    Spread,
    mean_defined,
    spread,
    spread_of_all,
)

SECONDS = 10.0
NO_PHASE = -1
LAST_PHASES = 4  # dissection, packaging, cleaning, retraction may follow one another in any order
WIDE_START_PHASES = 2  # cleaning and retraction: two ids back are forgiven as well


def forgive(truth: Ints, predicted: Ints, frames: Ints, margin: float) -> Ints:
    """Let a prediction pass that names the neighbouring phase near a true change.

    In the first ``margin`` of a true segment the phase that precedes it becomes the truth, in the
    last ``margin`` the phase that follows; ordinary metrics on what comes back never exceed 100,
    since each frame still has one prediction.

    Args:
        truth, predicted: class ids, (rows,).
        frames: where the rows lie, ascending, (rows,); a missing row does not stretch the margin.
        margin: in units of ``frames``.

    Returns:
        The predictions with the forgiven ones put right, (rows,).

    Source: our reading of the intent of the published script. Differs: only
    the phase that really precedes or follows is forgiven, whatever the ids.
    """
    segments = runs(truth)
    row = segments.of_rows()
    edge = np.full(min(1, len(segments.labels)), NO_PHASE)
    before = np.concatenate([edge, segments.labels[:-1]])[row]
    after = np.concatenate([segments.labels[1:], edge])[row]
    from_start = frames - frames[segments.starts][row]
    to_end = frames[segments.ends - 1][row] - frames
    early = (from_start < margin) & (predicted == before)
    late = (to_end < margin) & (predicted == after)
    return np.where(early | late, truth, predicted)


def published_differences(truth: Ints, predicted: Ints, phases: int, window: int) -> Ints:
    """Predicted minus true id, with 0 where the script forgives, (rows,).

    Args:
        truth, predicted: class ids in the order of Cholec80, (rows,).
        phases: how many there are (m2cai16 has one more in front).
        window: rows in 10 s.
    """
    differences = predicted - truth
    for start, end, phase in zip(*runs(truth), strict=True):
        rows = min(window, end - start)
        back = [-1, -2] if phase >= phases - WIDE_START_PHASES else [-1]
        ahead = [1, 2] if phase >= phases - LAST_PHASES else [1]
        head, tail = differences[start : start + rows], differences[end - rows : end]  # views
        head[np.isin(head, back)] = 0
        head[np.isin(tail, ahead)] = 0  # the tail's mask, on the head
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
