"""Ten seconds of forgiveness at the ends of a true segment, in a form where nothing exceeds 100.

Where one phase ends and the next begins is a matter of seconds, on which two surgeons differ.
"""

from __future__ import annotations

import numpy as np

from histoscope.domains.surgery.metrics.cells import Ints
from histoscope.domains.surgery.metrics.runs import runs

SECONDS = 10.0
NO_PHASE = -1


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

    Source: our reading of the intent of the published script (see ``published``). Differs: only
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
