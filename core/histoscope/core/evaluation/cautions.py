"""What would be misleading about a score, whatever was scored."""

from __future__ import annotations

import numpy as np

from histoscope.core.data.examples import Examples, unit_name
from histoscope.core.evaluation.intervals import LEAST

FEW_UNITS, FEW_OF_A_CLASS, FEW_DRAWS = 10, 5, 5  # below these a caution is due
CENTRES = "centres are not recorded: nothing here says how it does in another hospital"


def cautions_of(test: Examples, draws: int) -> list[str]:
    """Of the cases and classes that are scored, and of the draws of labels."""
    cautions = []
    if any(not unit.startswith("case:") for unit in test.units):
        cautions.append(
            "cases are unknown: intervals are over "
            f"{unit_name(test.units)} and too narrow, and cases may stand on both sides"
        )
    cautions += _few_units(test)
    if 1 < draws < FEW_DRAWS:
        cautions.append(
            f"only {draws} draws of labels: how much their choice matters is hardly known"
        )
    cautions.append(CENTRES)
    present, task = test.truth.present, test.task
    absent = [name for name, has in zip(task.classes, present, strict=True) if not has]
    if absent:
        cautions.append(f"no {task.level} is of {', '.join(absent)}: nothing is known about them")
    return cautions


def _few_units(test: Examples) -> list[str]:
    """What rests on a handful of units, of which no interval can be trusted."""
    units = np.asarray(test.units, dtype=str)
    count, many = len(set(test.units)), unit_name(test.units)
    if count == 1:
        return [f"all {test.task.level}s are of one of the {many}: no interval is known"]
    if count < LEAST:
        return [f"only {count} {many}: no interval is known of fewer than {LEAST}"]
    cautions = []
    if count < FEW_UNITS:
        cautions.append(f"only {count} {many}: intervals rest on few, and say little of others")
    for place, name in enumerate(test.task.classes):
        held = len(set(units[test.truth.holds[:, place]]))
        if 0 < held < FEW_OF_A_CLASS <= count:
            cautions.append(f"{name} is in {held} of {count} {many}: little is known about it")
    return cautions
