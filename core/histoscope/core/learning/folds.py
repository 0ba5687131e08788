"""Folds: whole cases are held out, in a draw where every class is of two or more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from histoscope.core.heads.contract import Labels

FOLDS = 5
SHUFFLES = 10  # tried, until every class stands in every part that is fitted on
Parts = list[tuple[NDArray[np.int64], NDArray[np.int64]]]
Units = Sequence[str] | None  # of each row; None: each is its own


class Folds(NamedTuple):
    """Rows to fit on and rows to hold out; each class stands among the former.

    Attributes:
        parts: one pair a fold.
        apart: whether the rows of a unit are never on both sides.
    """

    parts: Parts
    apart: bool

    @property
    def places(self) -> NDArray[np.int64]:
        """In which fold each row is held out, (rows,)."""
        out = np.zeros(sum(len(held) for _, held in self.parts), np.int64)
        for fold, (_, held) in enumerate(self.parts):
            out[held] = fold
        return out


def folds_of(kinds: Labels, units: Units = None) -> Folds:
    """At most five folds; whole units apart, else rows, where a class is of one unit only.

    Args:
        kinds: class id of each row, every class there on two rows or more.
        units: case (else source or sample) of each row; None: each row is its own.
    """
    names = np.arange(len(kinds)) if units is None else np.unique(units, return_inverse=True)[1]
    if len(np.unique(names)) < len(names):
        least = min(len(np.unique(names[kinds == kind])) for kind in np.unique(kinds))
        for seed in range(SHUFFLES if least > 1 else 0):
            split = StratifiedGroupKFold(min(FOLDS, least), shuffle=True, random_state=seed)
            parts = list(split.split(kinds, kinds, names))
            if all(len(held) and _whole(kinds, fit) for fit, held in parts):
                return Folds(parts, apart=True)
    least = int(np.unique(kinds, return_counts=True)[1].min())
    split = StratifiedKFold(min(FOLDS, least), shuffle=True, random_state=0)
    return Folds(list(split.split(kinds, kinds)), len(np.unique(names)) == len(names))


def _whole(kinds: Labels, fit: NDArray[np.int64]) -> bool:
    return len(np.unique(kinds[fit])) == len(np.unique(kinds))


def dealt(order: Sequence[str], holds: NDArray[np.bool_], folds: int) -> dict[str, int]:
    """The fold of each case: the rarest class first, each where least of it is, then of all.

    Args:
        order: the cases; of equals the first is dealt first.
        holds: which classes each has, (cases, classes).
        folds: how many there are, at most as many as cases.
    """
    out, sizes = dict[str, int](), np.zeros(folds, int)
    most = -(-len(order) // folds)
    holds = np.hstack([holds, ~holds.any(axis=1, keepdims=True)])  # what holds nothing comes last
    for place in [*np.argsort(holds[:, :-1].sum(axis=0), kind="stable"), holds.shape[1] - 1]:
        held = np.zeros(folds, int)
        for unit, its in zip(order, holds, strict=True):
            if its[place] and unit in out:
                held[out[unit]] += 1
        for unit, its in zip(order, holds, strict=True):
            if its[place] and unit not in out:
                free = np.flatnonzero(sizes < most)
                fold = int(min(free, key=lambda at: (held[at], sizes[at], at)))
                out[unit] = fold
                held[fold] += 1
                sizes[fold] += 1
    return out
