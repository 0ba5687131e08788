"""Two evaluations of the same draws on the same samples, draw by draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from histoscope.core.errors import DataError
from histoscope.core.evaluation.intervals import paired_difference
from histoscope.core.files import read_json
from histoscope.core.stages.evaluate import METRICS

COMPARED = ("balanced_accuracy", "accuracy", "auc", "mean_average_precision")


def compare(one: Path, other: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Mean of one - other over draws, with a 95 % t-interval.

    The interval speaks of which labels were drawn, not of other patients: both were scored on one
    set of samples.

    Args:
        one, other: folders that ``evaluate`` wrote.

    Returns:
        Task to metric to ``one``, ``other`` (means) and ``difference`` (mean, low, high, draws).

    Raises:
        DataError: no task in common, other draws, other samples or labels, or all draws the same.
    """
    ours, theirs = (
        read_json(folder / "metrics.json", *METRICS).get("tasks", {}) for folder in (one, other)
    )
    shared = [task for task in ours if task in theirs]
    if not shared:
        raise DataError(f"{one} and {other}: no task in common ({', '.join(ours)})")
    out = {}
    for task in shared:
        _check_pairs(task, ours[task], theirs[task], one, other)
        out[task] = {
            name: _difference(ours[task][name], theirs[task][name])
            for name in COMPARED
            if name in ours[task]
            and None not in (*ours[task][name]["per_draw"], *theirs[task][name]["per_draw"])
        }
    return out


def _difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    found = paired_difference(ours["per_draw"], theirs["per_draw"])
    return {"one": ours["value"], "other": theirs["value"], "difference": asdict(found)}


def _check_pairs(
    task: str, ours: Mapping[str, Any], theirs: Mapping[str, Any], one: Path, other: Path
) -> None:
    if ours["tested"] != theirs["tested"]:
        raise DataError(
            f"{one} and {other}: {task} was scored on other samples or labels ({ours['samples']} "
            f"and {theirs['samples']}); evaluate both on the same store, labels and split"
        )
    if ours["drawn"] != theirs["drawn"]:
        raise DataError(
            f"{one} and {other}: {task} was learnt from other draws; give finetune the same store, "
            "--fraction, --draws, --draw-by and --seed"
        )
    if len(set(ours["drawn"])) < 2:
        raise DataError(
            f"{one} and {other}: all draws of {task} saw the same labels; a paired interval needs "
            "two different ones (finetune with --draws 2 or more, and a --fraction below 1)"
        )
