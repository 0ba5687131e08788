"""How good a package is known to be, as the first thing on every page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SEEN = "SEEN BEFORE"
TITLES = {
    "balanced_accuracy": "Balanced accuracy",
    "accuracy": "Accuracy",
    "auc": "Area under the ROC curve (AUC)",
}
MEANINGS = {
    "balanced_accuracy": "the mean of the recalls below; every class counts the same",
    "accuracy": "all samples that were named rightly; frequent classes count more",
    "auc": "how well the scores rank, mean over classes; 1 is perfect",
}


@dataclass(frozen=True)
class Measure:
    """One number with its interval; all are fractions from 0 to 1, None is unknown."""

    title: str
    meaning: str
    value: float | None
    low: float | None
    high: float | None
    chance: float | None = None
    spread: float | None = None
    colour: str = ""


@dataclass(frozen=True)
class Quality:
    """What an evaluation says.

    Attributes:
        overall: measures of all classes together.
        recalls: one a class: of the samples that are of it, the part that was found.
        read: which data, in words.
        samples, units: how many; ``interval_over`` names the units.
        draws, labels: how many draws of how many labels, in words.
        alarms: cautions that make the numbers untrue.
        cautions: the others.
    """

    overall: list[Measure]
    recalls: list[Measure]
    read: str
    samples: int
    units: int
    interval_over: str
    draws: int
    labels: str
    alarms: list[str]
    cautions: list[str]


def quality_of(evaluation: Mapping[str, Any] | None, colours: Mapping[str, str]) -> Quality | None:
    """Make an evaluation (``metrics.json`` or a package's summary) ready to print.

    Args:
        evaluation: None when none is recorded.
        colours: class name to ``#rrggbb``.
    """
    if evaluation is None:
        return None
    recalls = evaluation["recall"]
    chances = {"balanced_accuracy": 1 / max(1, len(recalls)), "auc": 0.5}
    cautions = list(evaluation["cautions"])
    return Quality(
        overall=[
            _measure(title, MEANINGS[name], evaluation[name], chances.get(name))
            for name, title in TITLES.items()
            if name in evaluation
        ],
        recalls=[
            _measure(name, "", metric, colour=colours.get(name, ""))
            for name, metric in recalls.items()
        ],
        read=evaluation["read"],
        samples=evaluation["samples"],
        units=evaluation["units"],
        interval_over=evaluation["interval_over"],
        draws=evaluation["draws"],
        labels=labels_in_words(evaluation["labels"]),
        alarms=[caution for caution in cautions if caution.startswith(SEEN)],
        cautions=[caution for caution in cautions if not caution.startswith(SEEN)],
    )


def labels_in_words(labels: list[int]) -> str:
    """``50`` or ``48 to 52``: labels of each draw."""
    low, high = min(labels), max(labels)
    return str(low) if low == high else f"{low} to {high}"


def _measure(
    title: str,
    meaning: str,
    metric: Mapping[str, Any],
    chance: float | None = None,
    colour: str = "",
) -> Measure:
    low, high = metric["interval"]
    spread = metric.get("sd_over_draws")
    return Measure(title, meaning, metric["value"], low, high, chance, spread, colour)
