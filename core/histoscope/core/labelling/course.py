"""Stretches of one source in time: runs of classes, and where a model was least certain of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EXACT_S = 1e-6


@dataclass(frozen=True)
class Stretch:
    """A class from ``start_s`` up to ``end_s``; None: no label."""

    start_s: float
    end_s: float
    name: str | None


@dataclass(frozen=True)
class Doubt:
    """A stretch of which a model was not certain.

    Attributes:
        start_s, end_s: from when to when.
        confidence: mean of the largest score of its samples, from 0 to 1.
        between: the class of the largest mean score there, and the next, where there is one.
    """

    start_s: float
    end_s: float
    confidence: float
    between: tuple[str, ...]


def runs(names: Sequence[str | None], starts_s: NDArray[np.float64], end_s: float) -> list[Stretch]:
    """Samples in a row that have one name, as one stretch each, from 0 to the end.

    Args:
        names: of each sample, None where it has none.
        starts_s: from when each sample counts, increasing, (samples,).
        end_s: of the source; not before the last sample.
    """
    found = [Stretch(0.0, end_s, None)]
    for name, start_s in zip(names, starts_s.tolist(), strict=True):
        last = found[-1]
        if name == last.name:
            continue
        found[-1] = Stretch(last.start_s, start_s, last.name)
        found.append(Stretch(start_s, end_s, name))
    return [one for one in found if one.end_s - one.start_s > EXACT_S]


def least_certain(
    scores: NDArray[np.floating],
    classes: Sequence[str],
    starts_s: NDArray[np.float64],
    end_s: float,
    *,
    window_s: float,
    count: int,
) -> list[Doubt]:
    """Windows in which the mean of the largest score is least, the least certain first.

    Of windows that begin at a sample, lie whole in the source and touch none that was taken.

    Args:
        scores: of each sample, (samples, classes); NaN where it could not be read.
        classes: their names.
        starts_s: from when each sample counts, increasing, (samples,).
        end_s: of the source.
        window_s: length of a window, > 0; a shorter source is one window.
        count: how many at most.
    """
    good = ~np.isnan(scores).any(axis=1)
    scores, starts = scores[good].astype(np.float64), starts_s[good]
    if not len(scores):
        return []
    window_s = min(window_s, end_s)
    ends = np.searchsorted(starts, starts + window_s - EXACT_S)
    summed = np.concatenate([[0.0], np.cumsum(scores.max(axis=1))])
    places = np.arange(len(starts))
    means = (summed[ends] - summed[places]) / (ends - places)
    whole = starts + window_s <= end_s + EXACT_S
    means[~whole & (places > 0)] = np.inf
    found = list[Doubt]()
    while len(found) < count and np.isfinite(means).any():
        place = int(means.argmin())
        start, end = float(starts[place]), min(float(starts[place]) + window_s, end_s)
        inside = scores[place : ends[place]].mean(axis=0)
        order = np.argsort(-inside, kind="stable")[:2]
        told = tuple(classes[number] for number in order.tolist())
        found.append(Doubt(start, end, float(means[place]), told))
        means[np.abs(starts - start) < window_s - EXACT_S] = np.inf
    return found
