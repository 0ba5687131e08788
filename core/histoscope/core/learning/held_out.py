"""Whole cases held out inside a draw of ordered samples, and what is chosen on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from histoscope.core.data.truth import Truth
from histoscope.core.heads.contract import EVEN, NEVER, Rows, sigmoid
from histoscope.core.learning.calibration import why_not
from histoscope.core.learning.contract import Draw
from histoscope.core.learning.folds import FOLDS, SHUFFLES, dealt
from histoscope.core.learning.probe import LEAST
from histoscope.core.learning.thresholds import threshold_of
from histoscope.core.randomness import generator


class Telling(Protocol):
    """A head that gives logits of the samples of one source in order."""

    def logits(self, features: Rows) -> Rows:
        """(rows, dim) to (rows, classes)."""


@dataclass(frozen=True)
class CaseFolds:
    """The labelled rows of a draw, whose cases are dealt into five folds at most.

    A case is never in two folds. Cases that share a bag count as one, as a head reads whole bags.

    Attributes:
        truth: of the labelled rows.
        rows: which these are, (labels,).
        cases: case (else source or sample) of each, of joined ones the first by name, (labels,).
        fold: that each is held out in, (labels,).
        count: of the folds; 1 where nothing can be held out.
    """

    truth: Truth
    rows: NDArray[np.int64]
    cases: NDArray[np.str_]
    fold: NDArray[np.int64]
    count: int

    @classmethod
    def of(
        cls, truth: Truth, units: Sequence[str], bags: NDArray[np.int64], seed: int
    ) -> CaseFolds:
        """Deal cases so that every fold has of each class, and of its absence, as many as others.

        Of ten ways the one that leaves the most of these outside of each fold, too.

        Args:
            truth: of each row.
            units: case (else source or sample) of each row with a label.
            bags: number of each row's bag.
            seed: of the order in which cases are dealt.
        """
        rows = np.flatnonzero(truth.known)
        known = truth.take(rows)
        cases = _joined(np.asarray(units, dtype=str)[rows], bags[rows])
        names, place = np.unique(cases, return_inverse=True)
        sides = known.holds if truth.task.exclusive else np.hstack([known.holds, known.denied])
        holds = np.stack([sides[place == case].any(axis=0) for case in range(len(names))])
        count, draw = min(FOLDS, len(names)), generator(seed, "held out/folds")
        ways = [_dealt(holds, draw.permutation(len(names)), count) for _ in range(SHUFFLES)]
        fold = max(ways, key=lambda way: _outside(holds, way, count).sum())  # the first of equals
        return cls(known, rows, cases, fold[place], count)

    @property
    def uncalibrated(self) -> str | None:
        """Why no temperature can be chosen on held-out rows; None where one can."""
        if few := why_not(self.truth, self.cases.tolist()):
            return few
        if not _outside(self.truth.holds, self.fold, self.count).all():
            return "a class is in too few cases to hold them out; scores only rank"
        return None

    @property
    def choosable(self) -> NDArray[np.bool_]:
        """Of which classes a threshold can be chosen on held-out rows, (classes,).

        Of those with ten rows on either side, and both sides outside of each fold.
        """
        sides = self.truth.holds, self.truth.denied
        enough = [
            (side.sum(axis=0) >= LEAST) & _outside(side, self.fold, self.count) for side in sides
        ]
        return np.asarray(enough[0] & enough[1])


def _dealt(holds: NDArray[np.bool_], order: NDArray[np.int64], folds: int) -> NDArray[np.int64]:
    """The fold of each case, dealt in an order, (cases,). See :func:`dealt`."""
    fold_of = dealt([*map(str, order.tolist())], holds[order], folds)
    return np.array([fold_of[str(case)] for case in range(len(order))])


def _outside(holds: NDArray[np.bool_], fold: NDArray[np.int64], folds: int) -> NDArray[np.bool_]:
    """Which columns hold of something outside of each fold, (columns,)."""
    return np.all([holds[fold != one].any(axis=0) for one in range(folds)], axis=0)


def _joined(units: NDArray[np.str_], bags: NDArray[np.int64]) -> NDArray[np.str_]:
    """One name for all units that share bags, directly or by others, (rows,)."""
    names, unit = np.unique(units, return_inverse=True)
    numbers, bag = np.unique(bags, return_inverse=True)
    nodes = len(names) + len(numbers)
    links = coo_array((np.ones(len(unit)), (unit, len(names) + bag)), (nodes, nodes))
    _, group = connected_components(links, directed=False)
    firsts = np.unique(group[: len(names)], return_index=True)[1]
    return names[firsts[group[unit]]]


def bag_of_rows(starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of the bag of each row, from where each bag begins, and the end, (rows,)."""
    return np.repeat(np.arange(len(starts) - 1), np.diff(starts))


def held_out_logits(
    learn: Callable[[Draw], Telling], draw: Draw, folds: CaseFolds
) -> NDArray[np.float64]:
    """Logits of each labelled row by a head of the other folds' cases, (labels, classes).

    Neither labels nor features of its case have trained that head; the centre of features is the
    draw's, from unlabelled samples.

    Args:
        learn: gives a head of a part of the draw.
        draw: of an ordered method.
        folds: of it.
    """
    assert draw.bags is not None
    starts = draw.bags.starts
    out = np.zeros((len(draw.truth), len(draw.truth.task.classes)))
    fold_of = np.full(len(draw.bags), -1)  # of a bag; -1 where nothing is known
    fold_of[bag_of_rows(starts)[folds.rows]] = folds.fold
    for fold in range(folds.count):
        head = learn(part_of(draw, np.flatnonzero((fold_of >= 0) & (fold_of != fold))))
        for place in np.flatnonzero(fold_of == fold).tolist():
            rows = slice(starts[place], starts[place + 1])
            out[rows] = head.logits(draw.bags.features[rows])
    return out[folds.rows]


def part_of(draw: Draw, places: NDArray[np.int64]) -> Draw:
    """What a draw would see if it had some of its bags only."""
    assert draw.bags is not None
    rows = np.flatnonzero(np.isin(bag_of_rows(draw.bags.starts), places))
    units = [draw.units[row] for row in rows.tolist()]
    return replace(draw, truth=draw.truth.take(rows), units=units, bags=draw.bags.take(places))


def unfitted_cut(truth: Truth) -> Rows:
    """Thresholds before any is chosen: 0.5, and one never reached where nothing is known."""
    return np.where((truth.holds | truth.denied).any(axis=0), EVEN, NEVER).astype(np.float32)


def chosen_cut(folds: CaseFolds, logits: NDArray[np.float64]) -> tuple[Rows, Sequence[str]]:
    """The threshold of each class on held-out rows, where it can be chosen.

    Args:
        folds: of the draw.
        logits: of its labelled rows, see :func:`held_out_logits`.

    Returns:
        Thresholds, and the classes whose scores tell nothing; see :func:`threshold_of`.
    """
    cut, truth, untold = unfitted_cut(folds.truth), folds.truth.values, list[str]()
    for place in np.flatnonzero(folds.choosable).tolist():
        known = truth[:, place] >= 0
        scores = sigmoid(logits[known, place])
        cut[place], told = threshold_of(truth[known, place], scores, folds.fold[known])
        untold += [folds.truth.task.classes[place]] * (not told)
    return cut, untold
