"""From sources to a store: read each once, encode, index; goes on where it was stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from histoscope.core import __version__
from histoscope.core.config import Spec
from histoscope.core.contracts import (
    Domain,
    Plan,
    PlanLabels,
    Roots,
    Sample,
    Sampling,
    Source,
    Task,
)
from histoscope.core.contracts.installed import find_sources
from histoscope.core.data.labels import LabelTable
from histoscope.core.data.shard import Encoding, encode, write_shard
from histoscope.core.data.store import INDEX, STORE
from histoscope.core.data.units import sample_keys, units
from histoscope.core.errors import DataError
from histoscope.core.files import remove_left, write_json, write_table
from histoscope.core.progress import Progress
from histoscope.core.tables.names import listed
from histoscope.core.work.folder import OutFolder, work_through
from histoscope.core.work.job import Engine, Turn
from histoscope.core.work.local import ONE_WORKER
from histoscope.core.work.outcome import Outcome, write_manifest
from histoscope.core.work.reading import Opening, Reading
from histoscope.core.work.said import say_found, write_unused

SETTINGS = ("histoscope.settings", 2)
SOURCES = "sources"


@dataclass(frozen=True)
class PrepareJob:
    """Read one source into ``sources/<id>`` and ``shards/<id>.arrow`` of a store."""

    opening: Opening
    encoding: Encoding
    out: OutFolder

    def load(self) -> None:
        """Nothing that all sources share."""

    def __call__(self, source: Source, turn: Turn) -> Outcome:
        """Read, encode and index one source."""
        shard = f"shards/{source.id}.arrow"
        with self.opening.read(source, turn) as reading:
            if len(reading.plan.rows):
                images = (one.image for one in reading.samples() if isinstance(one, Sample))
                write_shard(self.out.path / shard, (encode(one, self.encoding) for one in images))
            rows = _index_rows(reading, shard)
            tasks = _write_rows(self.out.of(source) / "rows.parquet", rows, reading.plan)
            return reading.outcome({"tasks": tasks})


def _index_rows(reading: Reading, shard: str) -> pa.Table:
    source, planned, good = reading.source, reading.plan.rows, reading.good()
    ids = sample_keys(source, planned)
    cases = _column(planned, "case", source.case)
    columns: dict[str, Any] = {
        "id": pa.array(ids, pa.string()),
        "source": pa.array([source.id] * len(planned), pa.string()),
        "case": cases,
        "unit": pa.array(units(source, ids, cases.to_pylist()), pa.string()),
        "split": _column(planned, "split", source.split),
        "shard": pa.array([shard] * len(good), pa.string(), mask=~good),
        "row": pa.array(np.cumsum(good) - 1, pa.int64(), mask=~good),
    }
    rows = reading.judged()
    kept = [name for name in rows.column_names if name not in {"key", "case", "split"}]
    return pa.table(columns | {name: rows.column(name) for name in kept})


def _column(rows: pa.Table, name: str, default: str | None) -> pa.Array:
    if name in rows.column_names:
        return rows.column(name).cast(pa.string())
    return pa.array([default] * len(rows), pa.string())


def _write_rows(file: Path, rows: pa.Table, plan: Plan) -> dict[str, Any]:
    """Write a source's rows with their labels; what its tasks are, by name."""
    tasks = {}
    for task, labels in plan.labels.items():
        several = isinstance(labels.values, pa.Table)
        classes = labels.values.column_names if several else list(labels.classes)
        tasks[task] = {"classes": classes, "exclusive": not several}
        for name, values in labels_columns(task, labels).items():
            rows = rows.append_column(name, values)
    write_table(file, "histoscope.source-rows", 1, rows)
    return tasks


def prepare(
    domain: Domain,
    roots: Roots,
    sampling: Sampling,
    options: Spec,
    out: Path,
    *,
    encoding: Encoding = "jpeg",
    engine: Engine = ONE_WORKER,
    progress: Progress,
) -> list[Outcome]:
    """Make or continue a store.

    Args:
        domain: who finds and reads.
        roots: name to folder or file.
        sampling: how samples are cut.
        options: the domain's options of ``prepare``.
        out: the store's folder; it may hold an unfinished store made with the same settings.
        encoding: ``jpeg`` or ``lossless``.
        engine: who reads.
        progress: who is told.

    Returns:
        One outcome a source, in the order found; failed ones carry their reason.

    Raises:
        UsageError: ``out`` holds something else, or was made with other settings.
        Interrupted: what is finished stays; the same call goes on.
    """
    found = find_sources(domain, roots, options)
    settings = {
        "domain": domain.name,
        "sampling": sampling.model_dump(mode="json"),
        "encoding": encoding,
        "options": options.named(),
    }
    folder = OutFolder(out, SETTINGS, closing="store.json", parts=SOURCES)
    fields = type(sampling).model_fields.items()
    defaults = {name: one.get_default() for name, one in fields if not one.is_required()}
    usual = {"sampling": defaults, "options": type(options)().named()}
    folder.claim(settings, usual=usual)
    say_found(found, progress)
    for place in (out, out / "shards", out / "labels"):
        remove_left(place)
    job = PrepareJob(Opening(domain.name, roots, sampling), encoding, folder)
    outcomes = work_through("prepare", found.sources, job, engine, progress)
    write_unused(out, found.unused)
    _finish(out, settings, roots, outcomes, progress)
    return outcomes


def _finish(
    out: Path,
    settings: Mapping[str, Any],
    roots: Roots,
    outcomes: Sequence[Outcome],
    progress: Progress,
) -> None:
    parts = [
        pq.read_table(out / SOURCES / outcome.source.id / "rows.parquet")
        for outcome in outcomes
        if outcome.status != "failed" or outcome.corrupt
    ]
    tables = [part.replace_schema_metadata(None) for part in parts]
    merged = pa.concat_tables(tables, promote_options="permissive") if tables else None
    if merged is None or not any(outcome.samples for outcome in outcomes):
        reasons = "; ".join(sorted({outcome.reason for outcome in outcomes}))
        write_manifest(out, outcomes)
        raise DataError(f"{out}: no source could be used ({reasons[:300]}); see manifest.csv")
    _say_shared_cases(merged, progress)
    labels = [name for name in merged.column_names if name.startswith("label:")]
    write_table(out / "index.parquet", *INDEX, merged.drop_columns(labels))
    for task in _tasks(out, outcomes, merged):
        table = LabelTable.make(task, merged.column("id"), _values(task, merged), "prepare")
        table.write(out / "labels" / f"{task.name}.parquet")
    write_manifest(out, outcomes)
    body = {
        **settings,
        "roots": list(roots),
        "sources": len(outcomes),
        "samples": sum(outcome.samples for outcome in outcomes),
        "corrupt": sum(outcome.corrupt for outcome in outcomes),
        "program": __version__,
    }
    write_json(out / "store.json", *STORE, body)


def _say_shared_cases(rows: pa.Table, progress: Progress) -> None:
    """Say which cases have samples in several splits: what learns from one knows the other."""
    known = rows.select(["case", "split"]).drop_null().group_by("case")
    splits = known.aggregate([("split", "count_distinct")])
    shared = splits.filter(pc.greater(splits.column("split_count_distinct"), 1))
    names = sorted(shared.column("case").to_pylist())
    if names:
        progress.say(f"noted: {len(names)} cases are in several splits ({listed(names)})")


def labels_columns(task: str, labels: PlanLabels) -> dict[str, pa.Array]:
    """Columns of a source's rows: ``label:TASK``, or ``label:TASK:CLASS`` for each class."""
    if isinstance(labels.values, pa.Table):
        return {
            f"label:{task}:{name}": labels.values.column(name).cast(pa.bool_())
            for name in labels.values.column_names
        }
    return {f"label:{task}": labels.values.cast(pa.string())}


def _values(task: Task, rows: pa.Table) -> list[pa.ChunkedArray]:
    """The columns of :func:`labels_columns` in the task's order."""
    if task.exclusive:
        return [rows.column(f"label:{task.name}")]
    return [rows.column(f"label:{task.name}:{name}") for name in task.classes]


def _tasks(out: Path, outcomes: Sequence[Outcome], rows: pa.Table) -> list[Task]:
    """The tasks that sources gave labels for.

    Raises:
        DataError: two sources order a task's classes differently.
    """
    found = dict[str, dict[str, Any]]()
    for outcome in outcomes:
        for name, task in outcome.more.get("tasks", {}).items():
            if found.setdefault(name, task) != task:
                raise DataError(f"{out}: sources disagree about the classes of task {name!r}")
    tasks = []
    for name, task in found.items():
        classes = tuple(task["classes"])
        if not classes:
            classes = tuple(sorted(rows.column(f"label:{name}").drop_null().unique().to_pylist()))
        tasks.append(Task(name, classes, task["exclusive"]))
    return tasks
