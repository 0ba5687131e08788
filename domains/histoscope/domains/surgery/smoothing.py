"""Classes over time without segments that are too short, from scores before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from histoscope.core.contracts import Answer
from histoscope.core.labelling import smoothing
from histoscope.domains.surgery.timeline import gaps, interval_s


def without_short(
    scores: NDArray[np.floating], times_s: NDArray[np.float64], least_s: float
) -> NDArray[np.intp]:
    """:func:`histoscope.core.labelling.smoothing.without_short` of frames; gaps are cuts."""
    if not len(scores):
        return np.zeros(0, np.intp)
    cuts = np.flatnonzero(gaps(times_s)[1:]) + 1
    return smoothing.without_short(scores, times_s, least_s, interval_s(times_s), cuts)


def smoothed(
    answers: Sequence[Answer], times_s: NDArray[np.float64], least_s: float
) -> list[Answer]:
    """Answers of exclusive classes without short segments; others as they are.

    Args:
        answers: of the samples of one operation.
        times_s: of its rows.
        least_s: shortest segment, s; 0: nothing changes.
    """
    return [
        replace(one, settled=_settled(one, times_s, least_s))
        if least_s and one.task.exclusive
        else one
        for one in answers
    ]


def _settled(answer: Answer, times_s: NDArray[np.float64], least_s: float) -> NDArray[np.intp]:
    """The class of each row, -1 where it could not be read."""
    good = np.asarray(~np.isnan(answer.probabilities).any(axis=1))
    out = np.full(len(good), -1, np.intp)
    out[good] = without_short(answer.probabilities[good], times_s[good], least_s)
    return out


def merged_facts(answers: Sequence[Answer], least_s: float, step_s: float) -> dict[str, str]:
    """What was changed of each exclusive task, in words; nothing where nothing was asked for.

    Args:
        answers: smoothed.
        least_s: shortest segment, s.
        step_s: how long one row stands for.
    """
    told = {}
    for one in answers:
        if one.settled is not None:
            changed = np.count_nonzero(one.settled != one.highest()) * step_s
            told[f"Least segment of {one.task.name}"] = (
                f"{least_s:g} s: {changed:g} s have another class than their best score; decided "
                "after the whole recording, from later frames, too"
            )
    return told
