"""How long each class holds in an operation, how much of it is in doubt, and tools by phase."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from histoscope.core.contracts import Answer, Artefact, Column, Results
from histoscope.core.tables.typed import write_typed_csv
from histoscope.domains.surgery.timeline import clock

LOW = 0.5  # best score below which confidence is low, where predict was told nothing else


def low_below(answer: Answer) -> float:
    """Below which best score confidence is low: what predict was told, else a half."""
    return answer.least if answer.doubts else LOW


def is_low(answer: Answer) -> NDArray[np.bool_]:
    """Which rows have low confidence; none that could not be read."""
    best = answer.probabilities.max(axis=1)
    return np.asarray(~np.isnan(best) & (best < low_below(answer)))


def write_totals(answer: Answer, results: Results, step_s: float, out: Path) -> Artefact:
    """When each class first and last holds, for how long in all, and how much of that is in doubt.

    Args:
        answer: of one task.
        results: of the operation.
        step_s: how long one row stands for.
        out: folder of this source.
    """
    times = results.rows.column("at_s").to_numpy()
    held, task = answer.chosen(), answer.task
    good = max(1, int((~np.isnan(answer.probabilities).any(axis=1)).sum()))
    found = [times[one] for one in held.T]  # of each class
    columns = {
        Column("class"): answer.kinds,
        Column("first"): [clock(one[0]) if len(one) else None for one in found],
        Column("last"): [clock(one[-1]) if len(one) else None for one in found],
        Column("total"): [clock(n * step_s) for n in held.sum(axis=0)],
        Column("share", "share"): (held.sum(axis=0) / good).round(6),
    }
    said = "First and last moment, time in all, and its part of what could be read."
    if task.exclusive:
        low = (held & is_low(answer)[:, None]).sum(axis=0) * step_s / 60
        heading = f"minutes with a best score below {low_below(answer):g}"
        columns[Column("low_min", "number", heading)] = low.round(3)
        said += " The last column says how much of it the model was not sure of."
    said += _of_chance(answer)
    file = out / f"totals-{task.name}.csv"
    return write_typed_csv(file, task.name.capitalize(), said, columns, task.name)


def write_use(
    answer: Answer, phases: Sequence[Answer], step_s: float, out: Path
) -> Sequence[Artefact]:
    """Seconds that each class of a task was seen, in all and in each class of exclusive ones.

    Args:
        answer: of classes that may be present together, as tools.
        phases: of exclusive classes; nothing is written where there are none.
        step_s: how long one row stands for.
        out: folder of this source.
    """
    if not phases:
        return []
    held, task = answer.chosen(), answer.task
    columns = {
        Column("class"): list(task.classes),
        Column("seen_s", "number", "seconds in all"): (held.sum(axis=0) * step_s).round(3),
    }
    for one in phases:
        for kind, during in zip(one.kinds, one.chosen().T, strict=True):
            name = f"{one.task.name}:{kind}"
            heading = kind if len(phases) == 1 else f"{one.task.name}: {kind}"
            seconds = (held & during[:, None]).sum(axis=0) * step_s
            columns[Column(name, "number", heading)] = seconds.round(3)
    when = " and ".join(one.task.name for one in phases)
    title = f"{task.name.capitalize()} by {when}"
    said = "Seconds in which each was seen: in all, and while the model named each class."
    said += _of_chance(answer)
    return [write_typed_csv(out / f"use-{task.name}.csv", title, said, columns, task.name)]


def _of_chance(answer: Answer) -> str:
    """A sentence about classes whose moments mean nothing, behind others; empty without any."""
    if not answer.untold:
        return ""
    return (
        f" {', '.join(answer.untold)}: when may mean nothing, as scores of labels that were held "
        "out were not told from chance; the time in all follows from how often the labels show it."
    )


def untold_facts(answers: Sequence[Answer]) -> dict[str, str]:
    """Which classes of each task the model cannot tell, in words."""
    why = "scores were not told from chance"
    return {
        f"Not told of {one.task.name}": f"{', '.join(one.untold)} ({why})"
        for one in answers
        if one.untold
    }


def low_facts(answers: Sequence[Answer], step_s: float) -> dict[str, str]:
    """Minutes of low confidence of each exclusive task, in words."""
    told = {}
    for one in answers:
        low, read = is_low(one).sum() * step_s / 60, (~np.isnan(one.probabilities[:, 0])).sum()
        told[f"Low confidence of {one.task.name}"] = (
            f"{low:.1f} of {read * step_s / 60:.1f} min (best score below {low_below(one):g})"
        )
    return told
