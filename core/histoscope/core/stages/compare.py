"""Two evaluations of the same draws on the same samples: is one better for other patients, too?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from histoscope.core.contracts import Task
from histoscope.core.errors import DataError
from histoscope.core.evaluation.intervals import difference, over_draws
from histoscope.core.evaluation.measure import overall
from histoscope.core.evaluation.predictions import Predictions, file_of, read_predictions
from histoscope.core.files import read_json
from histoscope.core.stages.evaluate import METRICS


def compare(one: Path, other: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Mean of one - other over draws, with a 95 % interval over cases and draws.

    Cases and draws are resampled alike on both sides; with draws that all saw the same labels,
    cases alone.

    Args:
        one, other: folders that ``evaluate`` wrote.

    Returns:
        Task to metric to ``one``, ``other`` (means), ``difference`` (mean, low, high, units,
        draws), ``interval_over`` and, where draws differ, ``over_draws``: the t-interval over draws
        alone.

    Raises:
        DataError: no task in common, other draws, other samples or labels.
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
        sides = [_read(folder, task, ours[task]) for folder in (one, other)]
        if sides[0].names != sides[1].names:
            raise DataError(f"{one} and {other}: {task} was scored on other samples")
        out[task] = _differences(ours[task], theirs[task], *sides)
    return out


def _read(folder: Path, name: str, body: Mapping[str, Any]) -> Predictions:
    if not file_of(folder, name).is_file():
        raise DataError(
            f"{file_of(folder, name)}: no such file; an older program made this evaluation: "
            "evaluate again"
        )
    task = Task(name, tuple(body["classes"]), body["exclusive"])
    return read_predictions(folder, task, body["draws"])


def _differences(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], one: Predictions, other: Predictions
) -> dict[str, dict[str, Any]]:
    differ = len(set(ours["drawn"])) > 1
    draws = len(one.scores) if differ else 1
    left, right = (overall(side.truth, side.scores, side.units) for side in (one, other))
    found = {}
    for name, metric in left.items():
        if None in (*ours[name]["per_draw"], *theirs[name]["per_draw"]):
            continue
        gap = difference(metric, right[name], len(one.units), draws)
        found[name] = {
            "one": ours[name]["value"],
            "other": theirs[name]["value"],
            "difference": asdict(gap),
            "interval_over": ours["interval_over"],
        }
        if differ:
            alone = over_draws(ours[name]["per_draw"], theirs[name]["per_draw"])
            found[name]["over_draws"] = asdict(alone)
    return found


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
