"""Which samples to label first: typical of many, or far from what is labelled; unit by unit.

Pure functions of points. Two ways to choose, which decision 0009 measures:

- *typical clusters* (Hacohen et al. 2022, "Active Learning on a Budget", TypiClust): as many
  clusters as labels there will be; of each that has no label the sample in the densest place.
- *core set* (Sener and Savarese 2018, greedy k-centre): the sample farthest from all labelled ones;
  the loneliest quarter comes last, for with few labels plain k-centre spends them on outliers.

Both differ from their papers also in that units (cases) take turns, that near duplicates are left
out, and that an uncertainty, where there is one, multiplies density or distance.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from histoscope.core.randomness import generator

Method = Literal["typical", "core-set"]

DIMENSIONS = 32  # principal components; in all 512 a few loud ones decide (decision 0009)
NEIGHBOURS = 20  # as in the paper
CLUSTERS = 500  # as in the paper: at most
FEW = 5  # as in the paper: a smaller cluster is no group but outliers, and comes last
FITTED = 20_000  # samples that components and clusters are fitted on, at most
JUDGED = 2_000  # samples among which density is measured, at most
DUPLICATE = 0.25  # of the median distance to the nearest sample: nearer is the same thing again
LONELY = 0.25  # of all samples: those in the emptiest places, which the core set leaves for last
PROBED = 500  # samples whose nearest is looked for, at most
_LEAST = 1e-12


@dataclass(frozen=True)
class Chosen:
    """One sample to label.

    Attributes:
        place: which point.
        why: one clause for a person.
    """

    place: int
    why: str


def choose(
    features: NDArray[np.float32],
    units: Sequence[str],
    labelled: NDArray[np.bool_],
    count: int,
    *,
    method: Method,
    uncertainty: NDArray[np.float64] | None = None,
) -> list[Chosen]:
    """Samples worth a label, the most worth first; the same every time.

    Args:
        features: one row a sample, (samples, dim), labelled ones among them.
        units: the unit (case) of each; a unit gets its second label, those it has counted, when
            all others that still have something to offer have one.
        labelled: which have a label already, (samples,).
        count: how many are wanted.
        method: how they are chosen.
        uncertainty: of each sample, 0 to 1, (samples,); None: diversity alone.

    Returns:
        ``count`` choices; fewer where the rest are labelled or near duplicates of chosen ones.
    """
    points = principal_coordinates(features)
    turns = _Turns(points, units, labelled)
    if method == "typical":
        return _typical(points, turns, labelled, count, uncertainty)
    return _core_set(points, turns, count, uncertainty)


def principal_coordinates(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Coordinates along the first principal components, (samples, at most ``DIMENSIONS``)."""
    fitted = features[_at_most(len(features), FITTED)].astype(np.float64)
    middle = fitted.mean(axis=0)
    spread = fitted - middle
    _, axes = np.linalg.eigh(spread.T @ spread)  # ascending
    return np.asarray((features - middle) @ axes[:, : -DIMENSIONS - 1 : -1], np.float64)


def _at_most(count: int, most: int) -> NDArray[np.int64]:
    """All places, or a fixed choice where they are too many."""
    if count <= most:
        return np.arange(count)
    return np.sort(generator(0, "suggest/some").permutation(count)[:most])


def _distances(points: NDArray[np.float64], place: int) -> NDArray[np.float64]:
    return np.asarray(np.sqrt(((points - points[place]) ** 2).sum(axis=1)))


def _median_gap(points: NDArray[np.float64]) -> float:
    """The usual distance from a sample to its nearest; 0 where there is one sample."""
    gaps = [
        np.partition(_distances(points, int(place)), 1)[1]  # its own, 0, comes first
        for place in _at_most(len(points), PROBED)
        if len(points) > 1
    ]
    return float(np.median(gaps)) if gaps else 0.0


class _Turns:
    """Whose turn it is, and how far every sample is from the nearest labelled or chosen one."""

    def __init__(
        self, points: NDArray[np.float64], units: Sequence[str], labelled: NDArray[np.bool_]
    ) -> None:
        self._points = points
        _, self._unit = np.unique(np.asarray(units, dtype=str), return_inverse=True)
        self._held = np.zeros(int(self._unit.max()) + 1, np.int64)
        self.free = np.ones(len(points), np.bool_)
        self.distance = np.full(len(points), np.inf)
        self._near = DUPLICATE * _median_gap(points)
        for place in np.flatnonzero(labelled):
            self.mark_labelled(int(place))

    def open(self, last: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Free samples of the units that hold the fewest labels.

        Args:
            last: samples that come when no other is free.
        """
        free = self.free if last is None or not (self.free & ~last).any() else self.free & ~last
        held = np.where(free, self._held[self._unit], np.iinfo(np.int64).max)
        return np.flatnonzero(free & (held == held.min()))

    def mark_labelled(self, place: int) -> None:
        """A sample has, or will have, a label: it and its near duplicates are no longer free."""
        away = _distances(self._points, place)
        self.distance = np.minimum(self.distance, away)
        self.free &= away > self._near
        self.free[place] = False
        self._held[self._unit[place]] += 1


def _core_set(
    points: NDArray[np.float64],
    turns: _Turns,
    count: int,
    uncertainty: NDArray[np.float64] | None,
) -> list[Chosen]:
    weight = np.ones(len(points)) if uncertainty is None else uncertainty
    alone = loneliness(points)
    lonely = alone > np.quantile(alone, 1 - LONELY)
    chosen = list[Chosen]()
    while len(chosen) < count and turns.free.any():
        open_ = turns.open(lonely)
        if np.isinf(turns.distance[open_]).all():  # nothing is labelled: begin in the middle
            away = ((points[open_] - points.mean(axis=0)) ** 2).sum(axis=1)
            place, why = int(open_[away.argmin()]), "nearest to the middle of all samples"
        else:
            place = int(open_[(turns.distance[open_] * weight[open_]).argmax()])
            why = "unlike all that is labelled or suggested before it"
        chosen.append(Chosen(place, why))
        turns.mark_labelled(place)
    return chosen


def loneliness(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean distance to the nearest 20 samples, among at most 2,000, (points,).

    Args:
        points: (points, dim).
    """
    others = _at_most(len(points), JUDGED)
    few = min(NEIGHBOURS, len(others) - 1)
    if few < 1:
        return np.zeros(len(points))
    among, out = points[others], np.empty(len(points))
    for start in range(0, len(points), JUDGED):
        part = slice(start, start + JUDGED)
        apart = _distances_between(points[part], among)
        itself = others - start
        here = (itself >= 0) & (itself < len(apart))
        apart[itself[here], np.flatnonzero(here)] = np.inf
        out[part] = np.partition(apart, few - 1, axis=1)[:, :few].mean(axis=1)
    return out


def _distances_between(
    points: NDArray[np.float64], others: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distances, (points, others)."""
    square = (points**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)
    return np.asarray(np.sqrt(np.maximum(square - 2 * points @ others.T, 0.0)))


def _typical(
    points: NDArray[np.float64],
    turns: _Turns,
    labelled: NDArray[np.bool_],
    count: int,
    uncertainty: NDArray[np.float64] | None,
) -> list[Chosen]:
    weight = np.ones(len(points)) if uncertainty is None else uncertainty + _LEAST
    fitted = _at_most(len(points), FITTED)
    clusters = min(int(labelled.sum()) + count, CLUSTERS, len(fitted))
    model = KMeans(clusters, n_init=1, random_state=0)
    with warnings.catch_warnings():  # fewer different points than clusters: some stay empty
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(points[fitted], sample_weight=weight[fitted])
    cluster = model.predict(points)
    score = density(points, cluster, model.cluster_centers_) * weight
    size = np.bincount(cluster, minlength=clusters)
    worth = np.bincount(cluster, weight, minlength=clusters)
    held = np.bincount(cluster[labelled], minlength=clusters)
    chosen = list[Chosen]()
    while len(chosen) < count and turns.free.any():
        open_ = turns.open()
        there = np.unique(cluster[open_])
        best = there[np.lexsort((-worth[there], held[there], size[there] < FEW))[0]]
        members = open_[cluster[open_] == best]
        place = int(members[score[members].argmax()])
        few = "the first label of it" if not held[best] else f"which has {held[best]}"
        chosen.append(Chosen(place, f"typical of a group of {size[best]} samples, {few}"))
        held[best] += 1
        turns.mark_labelled(place)
    return chosen


def density(
    points: NDArray[np.float64], cluster: NDArray[np.int64], centres: NDArray[np.float64]
) -> NDArray[np.float64]:
    """One over the mean distance to the nearest 20 of the same cluster, (points,).

    In a cluster of more than 2,000 it is measured among the 2,000 nearest its centre; the others
    count as less dense than these.

    Args:
        points: (points, dim).
        cluster: of each point.
        centres: (clusters, dim).
    """
    out = np.zeros(len(points))
    for number, centre in enumerate(centres):
        members = np.flatnonzero(cluster == number)
        away = ((points[members] - centre) ** 2).sum(axis=1)
        members = members[np.argsort(away, kind="stable")[:JUDGED]]
        few = min(NEIGHBOURS, len(members) - 1)
        if few < 1:
            out[members] = 1.0
            continue
        apart = _distances_between(points[members], points[members])
        nearest = np.partition(apart, few, axis=1)[:, : few + 1]  # itself, at 0, among them
        out[members] = few / np.maximum(nearest.sum(axis=1), _LEAST)
    return out
