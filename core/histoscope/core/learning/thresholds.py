"""From which score on a class counts as present, chosen on rows that were held out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit
from sklearn.metrics import roc_auc_score

from histoscope.core.heads.contract import NEVER, Labels

CHANCE = 0.05  # nominal level of the test; folds share labels, and chance passes more often


class Threshold(NamedTuple):
    """A threshold, and whether its class's scores tell anything.

    Attributes:
        at: score from which on the class counts as present.
        told: whether held-out scores rank rows that show it above others, more than by chance.
    """

    at: float
    told: bool


def threshold_of(truth: Labels, scores: NDArray[np.floating], fold: NDArray[np.int64]) -> Threshold:
    """The threshold with the best F1, or where scores tell nothing one that as many rows reach.

    Where scores are by chance, the best F1 is nearly always had by saying that the class is always
    there, however rare it is: right by the measure, and no answer. So where the areas under the ROC
    curve of the folds are not told from 0.5 (one-sided t test over folds with both sides, nominally
    5 %), about how often the class is said to be present is taken from the labels. When may be
    chance. With two or three folds good scores may not be told from it, either.

    Args:
        truth: 1 or 0, (rows,), at least one 1 and one 0.
        scores: of a head that has not seen the row's fold, (rows,).
        fold: of each row, (rows,).
    """
    told = ranks(truth, scores, fold)
    cut = best_threshold if told else as_many_threshold
    return Threshold(cut(truth, scores), told)


def ranks(truth: Labels, scores: NDArray[np.floating], fold: NDArray[np.int64]) -> bool:
    """Whether scores rank present rows above absent ones; see :func:`threshold_of`."""
    held = [fold == one for one in np.unique(fold)]
    areas = [
        roc_auc_score(truth[rows], scores[rows]) for rows in held if len(set(truth[rows])) == 2
    ]
    if len(areas) < 2:
        return False
    error = np.std(areas, ddof=1) / np.sqrt(len(areas))
    return bool(np.mean(areas) - 0.5 > stdtrit(len(areas) - 1, 1 - CHANCE) * error)


def best_threshold(truth: Labels, scores: NDArray[np.floating]) -> float:
    """The cut, half way between two neighbouring scores, with the best F1 (the lowest if equal).

    Args:
        truth: 1 or 0, (rows,), at least one 1.
        scores: (rows,); a row counts as present from the cut on.
    """
    order = np.argsort(scores, kind="stable")
    ranked, hits = scores[order].astype(np.float64), truth[order]
    middles = np.r_[ranked[0], (ranked[1:] + ranked[:-1]) / 2]
    starts = np.r_[True, np.diff(ranked) > 0]  # a cut between equal scores is none
    above = np.cumsum(hits[::-1])[::-1]  # hits from this place on
    f1 = 2 * above / (np.arange(len(hits), 0, -1) + hits.sum())
    return float(middles[np.where(starts, f1, -1).argmax()])


def as_many_threshold(truth: Labels, scores: NDArray[np.floating]) -> float:
    """The cut, half way between two neighbouring scores, that most nearly as many rows reach.

    Args:
        truth: 1 or 0, (rows,), at least one 1 and one 0.
        scores: (rows,), 0 to 1; of equal scores all reach it or none.
    """
    ranked = np.sort(scores.astype(np.float64))
    middles = np.r_[ranked[0], (ranked[1:] + ranked[:-1]) / 2, NEVER]
    starts = np.flatnonzero(np.r_[True, np.diff(ranked) > 0, True])
    reached = len(ranked) - starts
    return float(middles[starts[np.abs(reached - int(truth.sum())).argmin()]])


def untold_cautions(untold: Sequence[Sequence[str]]) -> list[str]:
    """What a person should know of classes whose scores tell nothing; none where there are none.

    Args:
        untold: which classes these are, of each head.
    """
    counts = Counter(name for names in untold for name in names)
    if not counts:
        return []
    of = f"of {len(untold)} head{'s' * (len(untold) > 1)}"
    named = ", ".join(f"{name} ({count} {of})" for name, count in counts.items())
    return [
        f"held-out scores of {named} were not told from chance; there a class is said to be "
        "present about as often as in the labels, and when or where may mean nothing"
    ]
