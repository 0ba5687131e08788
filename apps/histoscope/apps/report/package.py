"""What every page says of a package: how good it is known to be, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from histoscope.core.packages.card import drawn

SEEN = "SEEN BEFORE"
TITLES = {
    "balanced_accuracy": "Balanced accuracy",
    "accuracy": "Accuracy",
    "auc": "Area under the ROC curve (AUC)",
    "mean_average_precision": "Mean average precision, all pooled",
    "mean_average_precision_by_unit": "Mean average precision of each {unit}, then the mean",
}
MEANINGS = {
    "balanced_accuracy": "the mean of the recalls below; every class counts the same",
    "accuracy": "the part that was named rightly; frequent classes count more",
    "auc": "how well the scores rank, mean over classes; 1 is perfect",
    "mean_average_precision": "how well the scores find each class, mean over classes; 1 is "
    "perfect, guessing gives the share that has the class",
    "mean_average_precision_by_unit": "the same within each, where the class occurs",
}
EACH = {
    "recall": "Recall: of those that are of a class, the part that was found",
    "average_precision": "Average precision of each class",
}


def quality_of(
    evaluation: Mapping[str, Any] | None, head: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Make an evaluation of one task ready to print; all values are fractions from 0 to 1.

    Args:
        evaluation: of ``metrics.json`` or a package's summary; None when none is recorded.
        head: the head in ``package.json``.

    Returns:
        The evaluation with its ``task``; ``labels`` of each draw in words; measures ``overall``,
        and for ``each`` class those that ``heading`` names; and the cautions, of which ``alarms``
        make the numbers untrue.
    """
    if evaluation is None:
        return None
    colours = {kind["name"]: kind["colour"] for kind in head["classes"]}
    there = sum(one["value"] is not None for one in evaluation.get("recall", {}).values())
    chances = {"balanced_accuracy": 1 / there if there > 1 else None, "auc": 0.5}
    each = next(name for name in EACH if name in evaluation)
    unit = evaluation["interval_over"].removesuffix("s")
    return {
        **evaluation,
        "task": head["task"],
        "certain": evaluation.get("certain", []),
        "overall": [
            _measure(title.format(unit=unit), MEANINGS[name], evaluation[name], chances.get(name))
            for name, title in TITLES.items()
            if name in evaluation
        ],
        "each": [
            _measure(name, "", metric, colour=colours.get(name, ""))
            for name, metric in evaluation[each].items()
        ],
        "heading": EACH[each],
        "labels": labels_in_words(evaluation["labels"]),
        "alarms": [one for one in evaluation["cautions"] if one.startswith(SEEN)],
        "cautions": [one for one in evaluation["cautions"] if not one.startswith(SEEN)],
    }


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
) -> dict[str, Any]:
    """One number with its interval, ``low`` to ``high``; None is unknown."""
    low, high = metric["interval"]
    told = {"title": title, "meaning": meaning, "chance": chance, "colour": colour}
    return {
        **told,
        "value": metric["value"],
        "low": low,
        "high": high,
        "spread": metric.get("sd_over_draws"),
    }


def package_lines(package: Mapping[str, Any]) -> dict[str, str]:
    """What must be known to judge or repeat: from the body of ``package.json``."""
    encoder, heads = package["encoder"], package["heads"]
    lines = {
        "Encoder": encoder["architecture"],
        "Where its weights come from": in_words(encoder["provenance"]),
        "How samples are cut": in_words(encoder["sampling"]),
    }
    for head in heads:
        of = "" if len(heads) == 1 else f" of {head['task']}"
        lines |= {f"{name}{of}": text for name, text in _head_lines(head).items()}
    return lines | {"Package made by": f"histoscope {package['program']}"}


def _head_lines(head: Mapping[str, Any]) -> dict[str, str]:
    labels, calibration = head["labels"], head["calibration"]
    names = ", ".join(kind["name"] for kind in head["classes"])
    lines = {
        "Task": f"{head['task']}: {'one of' if head['exclusive'] else 'any of'} {names}"
        + (", of a source as a whole" if head["level"] == "source" else ""),
        "Method": head["method"],
        "Labels": f"{labels_in_words(labels)} in each of {len(labels)} draws "
        f"{drawn(head)}; the first draw predicts",
        "Chosen inside that draw": in_words(head["settings"][0]) if head["settings"] else "none",
        "Calibration": ": ".join(
            str(v) for v in (calibration["kind"], calibration.get("reason")) if v
        ),
    }
    if head["thresholds"]:
        lines["Counts as present from"] = ", ".join(
            f"{kind['name']} {cut:.2g}"
            for kind, cut in zip(head["classes"], head["thresholds"][0], strict=True)
        )
    if head.get("untold") and head["untold"][0]:
        lines["Not told from chance"] = (
            f"{', '.join(head['untold'][0])}: present about as often as in the labels"
        )
    return lines


def in_words(values: Mapping[str, Any]) -> str:
    """``name value, name value``; what is not set is left out."""
    set_values = {name: value for name, value in values.items() if value is not None}
    return ", ".join(f"{name} {_word(value)}" for name, value in set_values.items()) or "none"


def _word(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
