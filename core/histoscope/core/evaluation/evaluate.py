"""Evaluate a package on labelled samples that it has not seen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histoscope.core.contracts import Task
from histoscope.core.data.store import Store
from histoscope.core.encoders.folder import check_fits, digest_units
from histoscope.core.errors import DataError
from histoscope.core.evaluation import metrics
from histoscope.core.evaluation.intervals import bootstrap_interval
from histoscope.core.evaluation.pictures import draw_confusion
from histoscope.core.files import write_json
from histoscope.core.labels.features import features_of
from histoscope.core.labels.labelled import Labelled, labelled_rows, task_of, unit_name
from histoscope.core.packages.package import Package
from histoscope.core.progress import Progress

METRICS = ("histoscope.metrics", 1)


def evaluate(
    package: Package,
    store: Store,
    out: Path,
    *,
    split: str | None = None,
    labels: Path | None = None,
    allow_seen: bool = False,
    progress: Progress,
) -> dict[str, Any]:
    """Score every draw of a package; writes ``metrics.json`` and pictures.

    Args:
        package: what is scored.
        store: whose ``test`` split is read.
        out: folder for the results.
        split: ``FILE:PART`` instead.
        labels: a label table instead of the store's.
        allow_seen: score also what the package was trained on, and say so.
        progress: who is told.

    Returns:
        The body of ``metrics.json``.

    Raises:
        DataError: other scale, other classes, or data that the package has seen.
    """
    check_fits(package.info.encoder, store, str(package.folder))
    task, table = task_of(store, package.task.name if labels is None else None, labels)
    _same_classes(package.task, task, store)
    test = labelled_rows(store, "test", package.task, table, split)
    progress.say(f"evaluate reads {test.said}")
    cautions = _cautions(package, test, allow_seen)
    probabilities = _probabilities(package, store, test.rows, progress)
    body = _measure(package.task, test, probabilities)
    body = {
        "task": task.name,
        "classes": list(package.task.classes),
        "unit": "fraction",
        "samples": len(test.rows),
        "read": test.said,
        "interval_over": unit_name(test.units),
        "units": len(set(test.units)),
        "draws": len(probabilities),
        "labels": list(package.head_info.labels),
        **body,
        "cautions": cautions,
    }
    draw_confusion(np.array(body["confusion"]), task.classes, out / "confusion.png")
    write_json(out / "metrics.json", *METRICS, body)
    return body


def _same_classes(ours: Task, theirs: Task, store: Store) -> None:
    extra = sorted(set(theirs.classes) - set(ours.classes))
    if extra:
        raise DataError(
            f"{store.path}: has classes that the package does not know ({', '.join(extra)}); "
            f"the package knows {', '.join(ours.classes)}"
        )
    missing = sorted(set(ours.classes) - set(theirs.classes))
    if missing:
        raise DataError(f"{store.path}: has no label of the package's {', '.join(missing)}")


def _cautions(package: Package, test: Labelled, allow_seen: bool) -> list[str]:
    """What would be misleading, or a refusal where the package has seen the data."""
    known = digest_units(test.units) & package.seen
    cautions = []
    if known:
        share = f"{len(known)} of {len(set(test.units))} {unit_name(test.units)}"
        if not allow_seen:
            raise DataError(
                f"{package.folder}: was trained on {share} of this data; evaluate on others, "
                "or give --allow-seen to score it all the same"
            )
        cautions.append(f"SEEN BEFORE: the package was trained on {share}; too good to be true")
    if any(not unit.startswith("case:") for unit in test.units):
        cautions.append(
            "cases are unknown: intervals are over "
            f"{unit_name(test.units)} and too narrow, and cases may stand on both sides"
        )
    return cautions


def _probabilities(
    package: Package, store: Store, rows: NDArray[np.int64], progress: Progress
) -> list[NDArray[np.float32]]:
    """(samples, classes) for each draw; shared features are computed once."""
    shared = None
    out = []
    for draw, head in enumerate(package.heads):
        if shared is None or len(package.encoders) > 1:
            shared = features_of(package.encoder(draw), store, rows, progress)
        out.append(head.probabilities(shared))
    return out


def _measure(
    task: Task, test: Labelled, probabilities: list[NDArray[np.float32]]
) -> dict[str, Any]:
    """All metrics: value is the mean over draws, the interval resamples units."""
    truth, classes = test.truth, len(task.classes)
    predicted = [p.argmax(axis=1) for p in probabilities]
    scores = {
        "balanced_accuracy": lambda d, w: metrics.balanced_accuracy(
            truth, predicted[d], w, classes
        ),
        "accuracy": lambda d, w: metrics.accuracy(truth, predicted[d], w),
        "auc": lambda d, w: metrics.auc(truth, probabilities[d], w),
    }
    for place, name in enumerate(task.classes):
        scores[f"recall:{name}"] = lambda d, w, k=place: metrics.recalls(  # type: ignore[misc]
            truth, predicted[d], w, classes
        )[:, k]
    body: dict[str, Any] = {name: _score(s, test, len(predicted)) for name, s in scores.items()}
    body["recall"] = {name: body.pop(f"recall:{name}") for name in task.classes}
    body["confusion"] = metrics.confusion(truth, predicted[0], classes).tolist()
    return body


def _score(score: Any, test: Labelled, draws: int) -> dict[str, Any]:
    ones = np.ones((1, len(test.truth)))
    per_draw = [float(score(draw, ones)[0]) for draw in range(draws)]

    def mean_over_draws(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.mean([score(draw, weights) for draw in range(draws)], axis=0)

    low, high = bootstrap_interval(mean_over_draws, test.units)
    deviation = float(np.std(per_draw, ddof=1)) if draws > 1 else None
    return {
        "value": float(np.mean(per_draw)),
        "interval": [low, high],
        "sd_over_draws": deviation,
        "per_draw": per_draw,
    }


def summary(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a package keeps of an evaluation."""
    kept = (
        *("samples", "read", "interval_over", "units", "draws", "labels", "unit"),
        *("balanced_accuracy", "auc", "recall", "cautions"),
    )
    return {name: body[name] for name in kept}
