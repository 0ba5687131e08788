"""All metrics of one task: values are means over draws, intervals resample units and draws.

Of exclusive classes also the confusion counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histoscope.core.data.examples import Examples
from histoscope.core.data.truth import Truth
from histoscope.core.evaluation import metrics
from histoscope.core.evaluation.blocks import block, scored
from histoscope.core.evaluation.doubt import certain
from histoscope.core.evaluation.finding import finding
from histoscope.core.evaluation.intervals import Ends, Metric, bootstrap, each_alone
from histoscope.core.evaluation.metrics import Numbers, Weighted
from histoscope.core.evaluation.units import Units

Scores = Sequence[NDArray[np.float32]]
Thresholds = Sequence[Sequence[float] | NDArray[np.floating]]


def measure(
    test: Examples, probabilities: Scores, thresholds: Thresholds, ends: Ends = bootstrap
) -> dict[str, Any]:
    """All metrics of a task.

    Args:
        test: what is true.
        probabilities: (examples, classes) for each draw.
        thresholds: (classes,) or (examples, classes) for each draw; not asked for where classes
            are exclusive.
        ends: of a metric's interval.
    """
    if test.task.exclusive:
        return measure_classes(test, probabilities, ends)
    return measure_presence(test, probabilities, thresholds, ends)


def overall(truth: Truth, probabilities: Scores, units: Units) -> Mapping[str, Metric]:
    """Metrics of all classes together, by which two evaluations are compared."""
    values, classes = truth.values, len(truth.task.classes)
    if not truth.task.exclusive:
        parts = [_precisions(truth, scores, units) for scores in probabilities]
        there = np.flatnonzero(truth.present).tolist()
        return {"mean_average_precision": _of_draws([_mean(each, there) for each in parts])}
    ways: dict[str, Callable[[NDArray[np.float32]], Weighted]] = {
        "balanced_accuracy": lambda p: metrics.balanced_accuracy(
            values, p.argmax(axis=1), units, classes
        ),
        "accuracy": lambda p: metrics.accuracy(values, p.argmax(axis=1), units),
        "auc": lambda p: metrics.auc(values, p, units),
    }
    return {name: _of_draws([way(p) for p in probabilities]) for name, way in ways.items()}


def of_units(truth: Truth, probabilities: Scores, units: Units) -> NDArray[np.float64]:
    """The first of :func:`overall` in each unit by itself, over the classes it has, (units,).

    The mean over draws; NaN of a unit that has none.
    """
    count, classes = len(units), len(truth.task.classes)
    if truth.task.exclusive:
        of_class = [
            metrics.recalls(truth.values, p.argmax(axis=1), units, classes) for p in probabilities
        ]
        ways = [
            each_alone(_of_draws(of_class), draw, count).T for draw in range(len(probabilities))
        ]
    else:
        ways = [_each_class(_precisions(truth, p, units), count) for p in probabilities]
    return np.asarray(np.mean([metrics.mean_where_defined(way) for way in ways], axis=0))


def rarest(truth: Truth, units: Units, metric: str) -> int:
    """Units that hold the rarest class that counts in a metric of :func:`overall`."""
    if metric == "accuracy":
        return len(units)
    held = (units.sums(truth.holds) > 0).sum(axis=0)
    return int(held[truth.present].min(initial=len(units)))


def _each_class(parts: Sequence[Weighted], units: int) -> Numbers:
    """Of each class and unit by itself, (classes, units)."""
    each = _of_draws(parts)
    return np.stack([each_alone(each, place, units) for place in range(len(parts))])


def measure_classes(
    test: Examples, probabilities: Scores, ends: Ends = bootstrap
) -> dict[str, Any]:
    """Metrics of exclusive classes, and the first draw's confusion counts. See :func:`measure`."""
    truth, units, draws = test.truth, Units.of(test.units), len(probabilities)
    classes = len(test.task.classes)
    body: dict[str, Any] = {
        name: scored(metric, units, draws, ends, rarest(truth, units, name))
        for name, metric in overall(truth, probabilities, units).items()
    }
    recalls = [
        metrics.recalls(truth.values, p.argmax(axis=1), units, classes) for p in probabilities
    ]
    held = (units.sums(truth.holds) > 0).sum(axis=0).tolist()
    body["recall"] = {
        name: scored(_column(recalls, place), units, draws, ends, held[place])
        for place, name in enumerate(test.task.classes)
    }
    called = [p.argmax(axis=1)[:, None] == np.arange(classes) for p in probabilities]
    body |= finding(test, probabilities, called, ends)
    body["certain"] = certain(truth, probabilities, units, ends)
    predicted = probabilities[0].argmax(axis=1)
    body["confusion"] = metrics.confusion(truth.values, predicted, classes).tolist()
    return body


def measure_presence(
    test: Examples, probabilities: Scores, thresholds: Thresholds, ends: Ends = bootstrap
) -> dict[str, Any]:
    """Average precision, and F1, of classes that may be present together. See :func:`measure`."""
    truth, units, draws = test.truth, Units.of(test.units), len(probabilities)
    parts = [_precisions(truth, scores, units) for scores in probabilities]
    held = (units.sums(truth.holds) > 0).sum(axis=0).tolist()
    chosen = [p >= np.asarray(t) for p, t in zip(probabilities, thresholds, strict=True)]

    def each(ways: Sequence[Sequence[Weighted]]) -> dict[str, Any]:
        return {
            name: scored(
                _of_draws([way[place] for way in ways]),
                units,
                draws,
                ends,
                held[place],
            )
            for place, name in enumerate(test.task.classes)
        }

    scores_f1 = [
        [metrics.f1(truth.values[:, place], one[:, place], units) for place in range(one.shape[1])]
        for one in chosen
    ]
    present = (truth.values == 1).sum(axis=0).tolist()
    there = np.flatnonzero(truth.present).tolist()
    pooled = _of_draws([_mean(each_class, there) for each_class in parts])
    least = rarest(truth, units, "mean_average_precision")
    return {
        "mean_average_precision": scored(pooled, units, draws, ends, least),
        "mean_average_precision_by_unit": _by_unit(parts, len(units), ends),
        "average_precision": each(parts),
        "f1": each(scores_f1),
        "present": dict(zip(test.task.classes, present, strict=True)),
        **finding(test, probabilities, chosen, ends),
    }


def _precisions(truth: Truth, scores: NDArray[np.float32], units: Units) -> list[Weighted]:
    """Average precision of each class."""
    return [
        metrics.average_precision(truth.values[:, place], scores[:, place], units)
        for place in range(scores.shape[1])
    ]


def _mean(parts: Sequence[Weighted], there: Sequence[int]) -> Weighted:
    """The mean over the classes that there are."""

    def mean(weights: Numbers) -> Numbers:
        if not there:
            return np.full(len(weights), np.nan)
        return np.asarray(np.mean([parts[place](weights) for place in there], axis=0))

    return mean


def _column(ways: Sequence[Weighted], place: int) -> Metric:
    return lambda draw, weights: ways[draw](weights)[:, place]


def _of_draws(ways: Sequence[Weighted]) -> Metric:
    return lambda draw, weights: ways[draw](weights)


def _by_unit(parts: Sequence[Sequence[Weighted]], count: int, ends: Ends) -> dict[str, Any]:
    """The mean over classes of each unit by itself, its mean, and the interval of that."""
    values = np.stack(
        [metrics.mean_where_defined(_each_class(each, count)) for each in parts]
    )  # (draws, units)
    known = values[:, ~np.isnan(values).any(axis=0)]
    if not known.size:
        return block([float("nan")] * len(parts), float("nan"), float("nan"))
    per_draw = known.mean(axis=1)

    def mean(draw: int, weights: Numbers) -> Numbers:
        return (weights @ known[draw]) / weights.sum(axis=1)

    low, high = ends(mean, known.shape[1], len(parts), known.shape[1])
    return block(per_draw.tolist(), low, high)
