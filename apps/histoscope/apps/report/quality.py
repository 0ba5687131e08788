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
    "mean_average_precision": "Mean average precision, all samples pooled",
    "mean_average_precision_by_unit": "Mean average precision of each {unit}, then the mean",
}
MEANINGS = {
    "balanced_accuracy": "the mean of the recalls below; every class counts the same",
    "accuracy": "all samples that were named rightly; frequent classes count more",
    "auc": "how well the scores rank, mean over classes; 1 is perfect",
    "mean_average_precision": "how well the scores find each class, mean over classes; 1 is "
    "perfect, guessing gives the share of samples that have the class",
    "mean_average_precision_by_unit": "the same within each, where the class occurs",
}
EACH = {
    "recall": "Recall: of the samples that are of a class, the part that was found",
    "average_precision": "Average precision of each class",
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
        task: what was asked.
        overall: measures of all classes together.
        each: one measure a class; ``heading`` says which.
        read: which data, in words.
        samples, units: how many; ``interval_over`` names the units.
        draws, labels: how many draws of how many labels, in words.
        alarms: cautions that make the numbers untrue.
        cautions: the others.
    """

    task: str
    overall: list[Measure]
    each: list[Measure]
    heading: str
    read: str
    samples: int
    units: int
    interval_over: str
    draws: int
    labels: str
    alarms: list[str]
    cautions: list[str]


def quality_of(evaluation: Mapping[str, Any] | None, head: Mapping[str, Any]) -> Quality | None:
    """Make an evaluation of one task ready to print.

    Args:
        evaluation: of ``metrics.json`` or a package's summary; None when none is recorded.
        head: the head in ``package.json``.
    """
    if evaluation is None:
        return None
    colours = {kind["name"]: kind["colour"] for kind in head["classes"]}
    there = sum(one["value"] is not None for one in evaluation.get("recall", {}).values())
    chances = {"balanced_accuracy": 1 / there if there > 1 else None, "auc": 0.5}
    cautions = list(evaluation["cautions"])
    each = next(name for name in EACH if name in evaluation)
    unit = evaluation["interval_over"].removesuffix("s")
    return Quality(
        task=head["task"],
        overall=[
            _measure(title.format(unit=unit), MEANINGS[name], evaluation[name], chances.get(name))
            for name, title in TITLES.items()
            if name in evaluation
        ],
        each=[
            _measure(name, "", metric, colour=colours.get(name, ""))
            for name, metric in evaluation[each].items()
        ],
        heading=EACH[each],
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
