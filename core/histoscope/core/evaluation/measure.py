"""All metrics of one task: the value is the mean over draws, the interval resamples units.

Of exclusive classes also the confusion counts, and their picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histoscope.core.data.examples import Examples
from histoscope.core.evaluation import metrics
from histoscope.core.evaluation.intervals import CHUNK, bootstrap_interval
from histoscope.core.files import atomic_path

Scores = Sequence[NDArray[np.float32]]
Metric = Callable[[int, NDArray[np.float64]], NDArray[np.float64]]


def measure(
    test: Examples, probabilities: Scores, thresholds: Sequence[Sequence[float]]
) -> dict[str, Any]:
    """All metrics of a task.

    Args:
        test: what is true.
        probabilities: (examples, classes) for each draw.
        thresholds: (classes,) for each draw; not asked for where classes are exclusive.
    """
    if test.task.exclusive:
        return measure_classes(test, probabilities)
    return measure_presence(test, probabilities, thresholds)


def measure_classes(test: Examples, probabilities: Scores) -> dict[str, Any]:
    """Metrics of exclusive classes, and the first draw's confusion counts. See :func:`measure`."""
    task, truth, classes = test.task, test.truth.values, len(test.task.classes)
    predicted = [p.argmax(axis=1) for p in probabilities]

    def recall_of(place: int) -> Metric:
        return lambda d, w: metrics.recalls(truth, predicted[d], w, classes)[:, place]

    def of_class(place: int) -> dict[str, Any]:
        return _score(recall_of(place), test, draws, truth == place)

    overall: dict[str, Metric] = {
        "balanced_accuracy": lambda d, w: metrics.balanced_accuracy(
            truth, predicted[d], w, classes
        ),
        "accuracy": lambda d, w: metrics.accuracy(truth, predicted[d], w),
        "auc": lambda d, w: metrics.auc(truth, probabilities[d], w),
    }
    draws = len(predicted)
    body: dict[str, Any] = {name: _score(m, test, draws) for name, m in overall.items()}
    body["recall"] = {name: of_class(place) for place, name in enumerate(task.classes)}
    body["confusion"] = metrics.confusion(truth, predicted[0], classes).tolist()
    return body


def measure_presence(
    test: Examples, probabilities: Scores, thresholds: Sequence[Sequence[float]]
) -> dict[str, Any]:
    """Average precision, and F1, of classes that may be present together. See :func:`measure`."""
    task, truth, draws = test.task, test.truth.values, len(probabilities)

    def precision_of(place: int) -> Metric:
        return lambda d, w: metrics.average_precision(
            truth[:, place], probabilities[d][:, place], w
        )

    def f1_of(place: int) -> Metric:
        return lambda d, w: metrics.f1(
            truth[:, place], probabilities[d][:, place] >= thresholds[d][place], w
        )

    present = (truth == 1).sum(axis=0)
    there = np.flatnonzero(present).tolist()

    def pooled(d: int, w: NDArray[np.float64]) -> NDArray[np.float64]:
        if not there:
            return np.full(len(w), np.nan)
        return np.asarray(np.mean([precision_of(place)(d, w) for place in there], axis=0))

    def pooled_in_units(d: int, w: NDArray[np.float64]) -> NDArray[np.float64]:
        parts = [precision_of(place)(d, w) for place in range(len(task.classes))]
        return metrics.mean_where_defined(np.stack(parts))

    def each(metric: Callable[[int], Metric]) -> dict[str, Any]:
        return {
            name: _score(metric(place), test, draws, truth[:, place] == 1)
            for place, name in enumerate(task.classes)
        }

    return {
        "mean_average_precision": _score(pooled, test, draws),
        "mean_average_precision_by_unit": _by_unit(pooled_in_units, test, draws),
        "average_precision": each(precision_of),
        "f1": each(f1_of),
        "present": dict(zip(task.classes, present.tolist(), strict=True)),
    }


def _score(
    score: Metric, test: Examples, draws: int, of_class: NDArray[np.bool_] | None = None
) -> dict[str, Any]:
    """A metric of all draws; no interval where a class is in one unit, which tells of no other."""
    ones = np.ones((1, len(test.truth)))
    per_draw = [float(score(draw, ones)[0]) for draw in range(draws)]

    def mean_over_draws(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.mean([score(draw, weights) for draw in range(draws)], axis=0)

    low, high = bootstrap_interval(mean_over_draws, test.units)
    if of_class is not None and len(set(np.asarray(test.units, dtype=str)[of_class])) < 2:
        low = high = float("nan")
    return _metric(per_draw, low, high)


def _by_unit(score: Metric, test: Examples, draws: int) -> dict[str, Any]:
    """A metric of each unit by itself, its mean, and the interval of that over units."""
    names = np.unique(np.asarray(test.units, dtype=str))
    units = np.asarray(test.units, dtype=str)
    values = np.empty((draws, len(names)))
    for start in range(0, len(names), CHUNK):
        inside = slice(start, start + CHUNK)
        weights = (units == names[inside, None]).astype(float)  # (units, samples)
        for draw in range(draws):
            values[draw, inside] = score(draw, weights)
    per_draw = metrics.mean_where_defined(values.T)
    over_draws = metrics.mean_where_defined(values)  # (units,)
    defined = over_draws[~np.isnan(over_draws)]
    if not len(defined):
        return _metric([float("nan")] * draws, float("nan"), float("nan"))
    low, high = bootstrap_interval(
        lambda w: (w @ defined) / w.sum(axis=1), [str(place) for place in range(len(defined))]
    )
    return _metric([float(value) for value in per_draw], low, high)


def _metric(per_draw: list[float], low: float, high: float) -> dict[str, Any]:
    """JSON knows no NaN: what is undefined is null."""
    deviation = float(np.std(per_draw, ddof=1)) if len(per_draw) > 1 else None
    return {
        "value": _number(float(np.mean(per_draw))),
        "interval": [_number(low), _number(high)],
        "sd_over_draws": None if deviation is None else _number(deviation),
        "per_draw": [_number(value) for value in per_draw],
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value


def draw_confusion(counts: NDArray[np.int64], classes: Sequence[str], path: Path) -> None:
    """Draw a confusion matrix as PNG: rows are the truth, shades are shares of the row."""
    from matplotlib.figure import Figure

    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    side = 2.2 + 0.75 * len(classes)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    panel = figure.add_subplot()
    panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    places = range(len(classes))
    panel.set_xticks(places, classes, rotation=45, ha="right")
    panel.set_yticks(places, classes)
    panel.set_xlabel("predicted")
    panel.set_ylabel("true")
    for (row, column), share in np.ndenumerate(shares):
        text, colour = f"{counts[row, column]}\n{share:.0%}", "white" if share > 0.5 else "black"
        panel.text(column, row, text, ha="center", va="center", fontsize=9, color=colour)
    with atomic_path(path) as part:
        figure.savefig(part, format="png", dpi=110)
