"""Pairs of evaluations of the same draws on the same samples: is one better for other patients?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from histoscope.core.contracts import Task
from histoscope.core.errors import DataError
from histoscope.core.evaluation.comparison import Cases, Compared
from histoscope.core.evaluation.intervals import Metric, difference, each_alone, less, over_draws
from histoscope.core.evaluation.jackknife import jackknife, pseudo_values, sign_flip
from histoscope.core.evaluation.measure import of_units, overall, rarest
from histoscope.core.evaluation.pictures import draw_difference
from histoscope.core.evaluation.predictions import Predictions, file_of, read_predictions
from histoscope.core.evaluation.verdicts import holm, verdict
from histoscope.core.files import read_json, write_csv, write_json
from histoscope.core.stages.evaluate import METRICS

Pair = tuple[Path, Path]
COMPARISON = ("histoscope.comparison", 1)
MANY = 2000  # units above which none is left out: their square is slow, and tells nothing


def compare(pairs: Sequence[Pair], margin: float | None = None) -> list[Compared]:
    """Each task of each pair; the first task of the first pair is the primary comparison.

    The chief metric is judged (balanced accuracy, or mean average precision): the primary by
    itself, the rest with Holm's correction for their number.

    Args:
        pairs: folders that ``evaluate`` or ``finetune --folds`` wrote; of each, one - other.
        margin: differences up to this do not matter.

    Raises:
        DataError: no task in common, other draws, other samples or labels.
    """
    found = [one for number, pair in enumerate(pairs) for one in _of_pair(number, pair, pairs)]
    corrected = [None, *holm([one.p for one in found[1:]])]
    return [
        replace(
            one,
            corrected=p,
            verdict=verdict(one.gap.low, one.gap.high, one.p if p is None else p, margin),
        )
        for one, p in zip(found, corrected, strict=True)
    ]


def _of_pair(number: int, pair: Pair, pairs: Sequence[Pair]) -> list[Compared]:
    ours, theirs = (
        read_json(folder / "metrics.json", *METRICS).get("tasks", {}) for folder in pair
    )
    shared = [task for task in ours if task in theirs]
    if not shared:
        raise DataError(f"{pair[0]} and {pair[1]}: no task in common ({', '.join(ours)})")
    names = _names([folder for each in pairs for folder in each])
    out = []
    for task in shared:
        _check_pairs(task, ours[task], theirs[task], *pair)
        sides = [_read(folder, task, ours[task]) for folder in pair]
        _check_sides(task, *pair, *sides)
        called = (names[pair[0]], names[pair[1]])
        out.append(_compared(number, called, task, ours[task], theirs[task], *sides))
    return out


def _names(folders: Sequence[Path]) -> dict[Path, str]:
    """Ends of paths, as long as it takes to tell them apart."""
    unlike = set(folders)
    whole = {folder: folder.resolve().parts for folder in unlike}
    for count in range(1, max(map(len, whole.values())) + 1):
        names = {folder: "/".join(parts[-count:]) for folder, parts in whole.items()}
        if len(set(names.values())) == len(set(whole.values())):
            break
    return names


def _read(folder: Path, name: str, body: Mapping[str, Any]) -> Predictions:
    if not file_of(folder, name).is_file():
        raise DataError(
            f"{file_of(folder, name)}: no such file; an older program made this evaluation: "
            "evaluate again"
        )
    task = Task(name, tuple(body["classes"]), body["exclusive"])
    return read_predictions(folder, task, body["draws"])


def _compared(
    number: int,
    called: tuple[str, str],
    task: str,
    ours: Mapping[str, Any],
    theirs: Mapping[str, Any],
    one: Predictions,
    other: Predictions,
) -> Compared:
    every, drawn = len(one.scores), len(set(ours["drawn"])) > 1
    draws = every if drawn else 1
    units, folds = len(one.units), ours.get("folds", 0)
    left, right = (overall(side.truth, side.scores, side.units) for side in (one, other))
    known = [
        name for name in left if None not in (*ours[name]["per_draw"], *theirs[name]["per_draw"])
    ]
    if not known:
        raise DataError(f"{called[0]} and {called[1]}: {task} has no class that is there to find")
    gaps = {name: less(left[name], right[name]) for name in known}
    if not drawn:  # models of the same labels: their mean
        gaps = {name: _mean_of(gap, every) for name, gap in gaps.items()}
    way = jackknife if folds else difference
    told = {
        name: (
            ours[name]["value"],
            theirs[name]["value"],
            way(gap, units, draws, rarest(one.truth, one.units, name)),
        )
        for name, gap in gaps.items()
    }
    chief, *_ = known
    value, its, gap = told.pop(chief)
    by_draw = [body[chief]["per_draw"] for body in (ours, theirs)]
    return Compared(
        number,
        *called,
        task,
        chief,
        (value, its),
        gap,
        ours["interval_over"],
        over_draws(*by_draw) if draws > 1 else None,
        sign_flip(pseudo_values(gaps[chief], units, draws)) if folds else None,
        folds,
        _cases(one, other, gaps[chief], draws),
        told,
        tuple(dict.fromkeys([*ours.get("cautions", ()), *theirs.get("cautions", ())])),
    )


def _mean_of(gap: Metric, count: int) -> Metric:
    return lambda _, weights: np.asarray(
        np.mean([gap(draw, weights) for draw in range(count)], axis=0)
    )


def _cases(one: Predictions, other: Predictions, gap: Metric, draws: int) -> Cases:
    units = one.units
    alone = [of_units(side.truth, side.scores, side.units) for side in (one, other)]
    if len(units) > MANY:
        without = np.full(len(units), np.nan)
    else:
        each = [each_alone(gap, draw, len(units), without=True) for draw in range(draws)]
        without = np.mean(each, axis=0)
    samples = np.bincount(units.place, minlength=len(units))
    return Cases(units.names, samples, alone[0], alone[1], without)


def _check_sides(task: str, one: Path, other: Path, ours: Predictions, theirs: Predictions) -> None:
    if ours.names != theirs.names:
        raise DataError(f"{one} and {other}: {task} was scored on other samples")
    same = np.array_equal(ours.units.place, theirs.units.place)
    if ours.units.names != theirs.units.names or not same:
        raise DataError(
            f"{one} and {other}: {task} was scored on the same samples of other cases; evaluate "
            "both on the same store"
        )


def _check_pairs(
    task: str, ours: Mapping[str, Any], theirs: Mapping[str, Any], one: Path, other: Path
) -> None:
    if ours["tested"] != theirs["tested"]:
        raise DataError(
            f"{one} and {other}: {task} was scored on other samples or labels ({ours['samples']} "
            f"and {theirs['samples']}); evaluate both on the same store, labels and split"
        )
    if ours["drawn"] != theirs["drawn"] or ours.get("folds", 0) != theirs.get("folds", 0):
        raise DataError(
            f"{one} and {other}: {task} was learnt from other draws; give finetune the same store, "
            "--fraction, --cases-per-class, --draws, --draw-by, --seed and --folds"
        )


def write_comparison(out: Path, found: Sequence[Compared], margin: float | None) -> None:
    """Write ``comparison.json``, ``cases.csv`` and a picture of each comparison's cases."""
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("difference-*.png"):
        old.unlink()
    for number, one in enumerate(found):
        draw_difference(one, out / f"difference-{number}.png")
    write_csv(out / "cases.csv", pa.Table.from_pylist([row for one in found for row in one.rows()]))
    body = {"margin": margin, "comparisons": [one.told() for one in found]}
    write_json(out / "comparison.json", *COMPARISON, body)
