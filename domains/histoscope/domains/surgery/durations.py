"""How long each phase lasts, beside the other operations of a folder and the model's own error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from histoscope.core.contracts import Beside, Column
from histoscope.core.files import write_csv
from histoscope.core.tables.typed import ARROW
from histoscope.core.work.outcome import Outcome
from histoscope.domains.surgery.timeline import lasting_s

FILE = "durations.csv"
FEWEST = 5  # operations, others or evaluated, below which nothing is called an outlier
FENCE = 1.5  # interquartile ranges beyond the quartiles (Tukey, Exploratory Data Analysis, 1977)
Minutes = Mapping[str, Mapping[str, float]]  # by id of an operation, of each class

LONGER, SHORTER = "longer than usual", "shorter than usual"


@dataclass(frozen=True)
class Error:
    """How far off a class's minutes were in the evaluation; None is unknown.

    Attributes:
        median, ninth: over ``operations``, min.
        operations: in which the class was or was said.
    """

    median: float | None = None
    ninth: float | None = None
    operations: int = 0

    @property
    def known(self) -> float | None:
        """The ninth decile, where it is of enough operations to judge by."""
        return self.ninth if self.operations >= FEWEST else None


def minutes_a_frame(rows: pa.Table) -> float:
    """How long a sampled frame stands for, min; see :func:`lasting_s`."""
    return lasting_s(rows.column("at_s").to_numpy()) / 60


def set_beside(
    directory: Path, about: Mapping[str, Any], outcomes: Sequence[Outcome]
) -> list[Beside]:
    """Write ``durations.csv``. See :class:`histoscope.core.contracts.Comparing`."""
    done = [one for one in outcomes if one.status == "done"]
    heads = [
        head
        for head in about["package"]["heads"]
        if head["exclusive"] and head["level"] == "sample"
    ]
    tables, found = list[pa.Table](), list[Beside]()
    for head in heads:
        classes = [kind["name"] for kind in head["classes"]]
        minutes = {
            one.source.id: told
            for one in done
            if (told := _minutes(directory, one, head["task"], classes)) is not None
        }
        doubted = bool(about.get("uncertain_below"))
        errors = {} if doubted else errors_of(head)
        known = [one for one in done if one.source.id in minutes]
        table = _table(head["task"], classes, known, minutes, errors)
        tables.append(table)
        said = sentences(head, errors, len(known), len(done) - len(known), doubted=doubted)
        found.append(_beside(head["task"], classes, table, minutes, said))
    if tables and any(len(table) for table in tables):
        write_csv(directory / FILE, pa.concat_tables(tables))
        return found
    (directory / FILE).unlink(missing_ok=True)
    return []


def errors_of(head: Mapping[str, Any]) -> dict[str, Error]:
    """By class what the recorded evaluation says; empty where it says nothing in minutes."""
    amounts = (head["evaluation"] or {}).get("amounts") or {}
    if amounts.get("unit") != "min":
        return {}
    return {
        name: Error(one["median"], one["ninth_decile"], one["sources"])
        for name, one in amounts["classes"].items()
    }


def verdict(minutes: float, others: Sequence[float], error: Error) -> str:
    """Whether an operation's minutes stand out, as far as that can be known.

    What deviates from the others' median by no more than the ninth decile of the model's error does
    not; else what lies outside Tukey's fences around the others does.

    Args:
        minutes: of the operation.
        others: of the others.
        error: of the class.
    """
    if error.known is None:
        return "error unknown"
    if len(others) < FEWEST:
        return "too few others"
    if abs(minutes - float(np.median(others))) <= error.known:
        return "within the model's error"
    low, high = np.quantile(others, [0.25, 0.75])
    beyond = FENCE * (high - low)
    if minutes > high + beyond:
        return LONGER
    return SHORTER if minutes < low - beyond else "usual"


def _minutes(
    directory: Path, one: Outcome, task: str, classes: Sequence[str]
) -> dict[str, float] | None:
    """Of each class, from what was predicted; None where that cannot be read."""
    folder = one.source.id
    if folder != Path(folder).name:
        return None
    column = f"class:{task}"
    try:
        file = directory / "results" / folder / "predictions.parquet"
        table = pq.read_table(file, columns=["at_s", column])
    except (OSError, pa.ArrowInvalid):
        return None
    if table.column_names != ["at_s", column] or not len(table):
        return None
    held = np.array(table.column(column).to_pylist(), object)
    each = minutes_a_frame(table)
    return {name: float((held == name).sum()) * each for name in classes}


def _table(
    task: str,
    classes: Sequence[str],
    known: Sequence[Outcome],
    minutes: Minutes,
    errors: Mapping[str, Error],
) -> pa.Table:
    """One row an operation and class."""
    rows = []
    for one in known:
        for name in classes:
            mine = minutes[one.source.id][name]
            others = [told[name] for key, told in minutes.items() if key != one.source.id]
            usual, error = float(np.median(others)) if others else None, errors.get(name, Error())
            rows.append(
                {
                    "id": one.source.id,
                    "path": one.source.path,
                    "case": one.source.case,
                    "task": task,
                    "class": name,
                    "minutes": _short(mine),
                    "others": len(others),
                    "others_median_min": _short(usual),
                    "off_min": None if usual is None else _short(mine - usual),
                    "error_median_min": _short(error.median),
                    "error_ninth_decile_min": _short(error.ninth),
                    "error_operations": error.operations,
                    "verdict": verdict(mine, others, error),
                }
            )
    schema = pa.schema([(name, ARROW[kind]) for name, kind in KINDS.items()])
    return pa.Table.from_pylist(rows, schema)


KINDS: Mapping[str, Literal["text", "count", "number"]] = {
    "id": "text",
    "path": "text",
    "case": "text",
    "task": "text",
    "class": "text",
    "minutes": "number",
    "others": "count",
    "others_median_min": "number",
    "off_min": "number",
    "error_median_min": "number",
    "error_ninth_decile_min": "number",
    "error_operations": "count",
    "verdict": "text",
}
SHOWN = (
    Column("class", "text", "phase"),
    Column("minutes", "text", "minutes"),
    Column("others_median_min", "text", "usual (median of the others)"),
    Column("off_min", "text", "longer (+) or shorter (-)"),
    Column("error_median_min", "text", "model's error, median"),
    Column("error_ninth_decile_min", "text", "model's error, 9 of 10 within"),
    Column("verdict", "text", "what can be said"),
)


def _beside(
    task: str, classes: Sequence[str], table: pa.Table, minutes: Minutes, said: Sequence[str]
) -> Beside:
    rows, marks = dict[str, list[list[str]]](), dict[str, dict[str, str]]()
    for row in table.to_pylist():
        cells = [_cell(one.name, row[one.name]) for one in SHOWN]
        rows.setdefault(row["id"], []).append(cells)
        if row["verdict"] in (LONGER, SHORTER):
            marks.setdefault(row["id"], {})[row["class"]] = row["verdict"].split()[0]
    usual = {
        name: f"{np.median([told[name] for told in minutes.values()]):.1f}" if minutes else ""
        for name in classes
    }
    title = f"Minutes of each {task}"
    return Beside(task, title, "min", FILE, SHOWN, rows, marks, usual, said)


def _cell(name: str, value: str | float | None) -> str:
    if value is None:
        return "unknown" if name.startswith("error") else ""
    if isinstance(value, str):
        return value
    tenths = round(value, 1) + 0.0  # of -0.0 nothing is to be seen
    return f"{tenths:+.1f}" if name == "off_min" and tenths else f"{tenths:.1f}"


def sentences(
    head: Mapping[str, Any],
    errors: Mapping[str, Error],
    known: int,
    lost: int,
    *,
    doubted: bool,
) -> list[str]:
    """What must be known before the minutes are believed."""
    said = ["Minutes are sampled frames times the mean step between them, pauses left out."]
    if lost:
        many = "1 finished operation is" if lost == 1 else f"{lost} finished operations are"
        said.append(f"{many} left out: predictions.parquet cannot be read.")
    if doubted:
        said.append(
            "Error unknown: frames that score low are uncertain here and count in no phase, which "
            "the evaluation did not do. Nothing is called an outlier."
        )
    elif not errors:
        said.append(
            "Error unknown: no evaluation of these minutes is recorded with the package. Nothing "
            "is called an outlier. 'histoscope evaluate PACKAGE STORE --record', then predict "
            "again, which computes nothing anew."
        )
    else:
        amounts = head["evaluation"]["amounts"]
        said.append(
            f"The model's own error was measured on {amounts['sources']} labelled operations, of "
            f"which {amounts['labelled']:.1f} min are labelled in the median: the difference of "
            "predicted and true minutes, over labelled moments only. Of operations labelled in "
            "part it is too small."
        )
        if any(one.operations < FEWEST for one in errors.values()):
            said.append(
                f"Where it is known of fewer than {FEWEST} operations that have the phase, it is "
                "too little to judge by: error unknown."
            )
        said.append(
            "What deviates from the usual by no more than 9 of 10 such errors is no outlier; else "
            "what lies more than 1.5 interquartile ranges outside the quartiles of the others is "
            "longer or shorter than usual, from five others on."
        )
    if known < 2:
        said.append("There is no other operation in this folder to compare with.")
    return said


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
