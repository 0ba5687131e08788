"""From sources to a store: read each once, encode, index; goes on where it was stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from histoscope.core import __version__
from histoscope.core.config import Spec
from histoscope.core.contracts import (
    CorruptSample,
    Domain,
    Plan,
    PlanLabels,
    Reader,
    Roots,
    Sampling,
    Source,
    Task,
)
from histoscope.core.contracts.installed import find_sources, load_domain
from histoscope.core.data.codec import Encoding, encode
from histoscope.core.data.index import sample_keys, units
from histoscope.core.data.labels import LABELS, label_table
from histoscope.core.data.shard import write_shard
from histoscope.core.data.store import INDEX, MANIFEST, STORE
from histoscope.core.errors import DataError, UsageError
from histoscope.core.files import holds_anything, read_json, write_csv, write_json, write_table
from histoscope.core.progress import Progress
from histoscope.core.runtime.ahead import read_ahead
from histoscope.core.runtime.stop import StopFlag
from histoscope.core.work.judged import judged
from histoscope.core.work.local import run_all
from histoscope.core.work.outcome import Outcome, outcome_of, still_good

SOURCE = ("histoscope.source", 1)


@dataclass(frozen=True)
class PrepareJob:
    """Read one source into ``sources/<id>`` and ``shards/<id>.arrow`` of a store."""

    domain: str
    roots: Roots
    sampling: Sampling
    options: Spec
    encoding: Encoding
    store: Path

    def __call__(self, source: Source) -> Outcome:
        """Read, encode and index one source."""
        domain = load_domain(self.domain)
        with domain.open(source, self.roots, self.sampling, self.options) as reader:
            plan = reader.plan()
            tally = _Tally()
            shard = self.store / "shards" / f"{source.id}.arrow"
            if len(plan.rows):
                write_shard(shard, self._encoded(reader, plan, tally))
            rows = _index_rows(source, plan, tally, reader, f"shards/{source.id}.arrow")
            facts = dict(reader.facts)
        read = len(tally.status) - tally.corrupt
        outcome = outcome_of(source, read, tally.corrupt, plan.reason)
        _write_source(self.store / "sources" / source.id, outcome, facts, rows, plan)
        return outcome

    def _encoded(self, reader: Reader, plan: Plan, tally: _Tally) -> Iterator[bytes]:
        for sample in read_ahead(reader.read(plan.rows)):
            if isinstance(sample, CorruptSample):
                tally.add(sample.reason, {})
            else:
                tally.add("ok", sample.quality)
                yield encode(sample.image, self.encoding)


@dataclass
class _Tally:
    """What reading said of each row."""

    status: list[str] = field(default_factory=list)
    quality: list[Mapping[str, float]] = field(default_factory=list)
    corrupt: int = 0

    def add(self, status: str, quality: Mapping[str, float]) -> None:
        self.status.append(status)
        self.quality.append(quality)
        self.corrupt += status != "ok"


def _index_rows(source: Source, plan: Plan, tally: _Tally, reader: Reader, shard: str) -> pa.Table:
    count = len(plan.rows)
    ok = [status == "ok" for status in tally.status]
    places, row = list[int | None](), 0
    for good in ok:
        places.append(row if good else None)
        row += good
    ids = sample_keys(source, plan.rows)
    cases = _column(plan.rows, "case", source.case)
    columns: dict[str, Any] = {
        "id": pa.array(ids, pa.string()),
        "source": pa.array([source.id] * count, pa.string()),
        "case": cases,
        "unit": pa.array(units(source, ids, cases.to_pylist()), pa.string()),
        "split": _column(plan.rows, "split", source.split),
        "shard": pa.array([shard if good else None for good in ok], pa.string()),
        "row": pa.array(places, pa.int64()),
    }
    rows = judged(plan.rows, tally.status, tally.quality, reader)
    kept = [name for name in rows.column_names if name not in {"key", "case", "split"}]
    return pa.table(columns | {name: rows.column(name) for name in kept})


def _column(rows: pa.Table, name: str, default: str | None) -> pa.Array:
    if name in rows.column_names:
        return rows.column(name).cast(pa.string())
    return pa.array([default] * len(rows), pa.string())


def _write_source(
    folder: Path, outcome: Outcome, facts: Mapping[str, Any], rows: pa.Table, plan: Plan
) -> None:
    tasks = {}
    for task, labels in plan.labels.items():
        several = isinstance(labels.values, pa.Table)
        classes = labels.values.column_names if several else list(labels.classes)
        tasks[task] = {"classes": classes, "exclusive": not several}
        for name, values in labels_columns(task, labels).items():
            rows = rows.append_column(name, values)
    write_table(folder / "rows.parquet", "histoscope.source-rows", 1, rows)
    body = {"outcome": {**asdict(outcome)}, "facts": dict(facts), "tasks": tasks}
    write_json(folder / "done.json", *SOURCE, body)


def prepare(
    domain: Domain,
    roots: Roots,
    sampling: Sampling,
    options: Spec,
    out: Path,
    *,
    encoding: Encoding = "jpeg",
    workers: int = 1,
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
        workers: processes that read; 0 reads in this one.
        progress: who is told.

    Returns:
        One outcome a source, in the order found; failed ones carry their reason.

    Raises:
        UsageError: ``out`` holds something else, or was made with other settings.
        Interrupted: what is finished stays; the same call goes on.
    """
    sources = find_sources(domain, roots, options)
    settings = {
        "domain": domain.name,
        "sampling": sampling.model_dump(mode="json"),
        "scale": dict(sampling.scale()),
        "encoding": encoding,
        "options": options.model_dump(mode="json"),
    }
    _claim(out, settings)
    before = {s.id: done for s in sources if (done := _finished(out, s)) is not None}
    outcomes = still_good(sources, before, progress)
    todo = [source for source in sources if source.id not in outcomes]
    if len(outcomes) < len(before):
        (out / "store.json").unlink(missing_ok=True)  # its index speaks of shards that will change
    job = PrepareJob(domain.name, roots, sampling, options, encoding, out)
    progress.start("prepare", len(todo), "sources")
    with StopFlag() as stop:
        for outcome in run_all(job, todo, workers, stop):
            outcomes[outcome.source.id] = outcome
            if outcome.status != "done":
                progress.say(f"{outcome.source.path}: {outcome.status}: {outcome.reason}")
            progress.advance()
    progress.finish()
    ordered = [outcomes[source.id] for source in sources]
    _finish(out, settings, roots, ordered)
    return ordered


def _claim(out: Path, settings: Mapping[str, Any]) -> None:
    """Take the folder for these settings, or see that it was made with the same.

    A claim under which no source was finished binds nobody.
    """
    claim = out / "settings.json"
    if claim.is_file() and any(out.glob("sources/*/done.json")):
        before = read_json(claim, "histoscope.settings", 1)
        differing = [key for key in settings if before.get(key) != settings[key]]
        if differing:
            raise UsageError(
                f"{out}: was prepared with other settings ({', '.join(differing)}); "
                "give another --out, or the same settings to go on"
            )
        return
    if holds_anything(out) and not claim.is_file():
        raise UsageError(f"{out}: not empty and not a store; give another --out")
    write_json(claim, "histoscope.settings", 1, settings)


def _finished(out: Path, source: Source) -> Outcome | None:
    file = out / "sources" / source.id / "done.json"
    if not file.is_file():
        return None
    body = read_json(file, *SOURCE)["outcome"]
    outcome = Outcome(**{**body, "source": Source(**body["source"])})
    return None if outcome.status == "failed" else outcome


def _finish(
    out: Path, settings: Mapping[str, Any], roots: Roots, outcomes: Sequence[Outcome]
) -> None:
    parts = [
        pq.read_table(out / "sources" / outcome.source.id / "rows.parquet")
        for outcome in outcomes
        if outcome.status != "failed" or outcome.corrupt
    ]
    tables = [part.replace_schema_metadata(None) for part in parts]
    merged = pa.concat_tables(tables, promote_options="permissive") if tables else None
    if merged is None or not any(outcome.samples for outcome in outcomes):
        reasons = "; ".join(sorted({outcome.reason for outcome in outcomes}))
        write_manifest(out, outcomes)
        raise DataError(f"{out}: no source could be used ({reasons[:300]}); see manifest.csv")
    labels = [name for name in merged.column_names if name.startswith("label:")]
    write_table(out / "index.parquet", *INDEX, merged.drop_columns(labels))
    for task in _tasks(out, outcomes, merged):
        table = label_table(task, merged.column("id"), _values(task, merged), "prepare")
        write_table(out / "labels" / f"{task.name}.parquet", *LABELS, table)
    write_manifest(out, outcomes)
    body = {
        **settings,
        "roots": {name: str(path) for name, path in roots.items()},
        "sources": len(outcomes),
        "samples": sum(outcome.samples for outcome in outcomes),
        "corrupt": sum(outcome.corrupt for outcome in outcomes),
        "program": __version__,
    }
    write_json(out / "store.json", *STORE, body)


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
        file = out / "sources" / outcome.source.id / "done.json"
        told = read_json(file, *SOURCE)["tasks"] if file.is_file() else {}
        for name, task in told.items():
            if found.setdefault(name, task) != task:
                raise DataError(f"{out}: sources disagree about the classes of task {name!r}")
    tasks = []
    for name, task in found.items():
        classes = tuple(task["classes"])
        if not classes:
            classes = tuple(sorted(rows.column(f"label:{name}").drop_null().unique().to_pylist()))
        tasks.append(Task(name, classes, task["exclusive"]))
    return tasks


def write_manifest(out: Path, outcomes: Sequence[Outcome]) -> None:
    """Write ``manifest.parquet`` and ``manifest.csv``: one row a source, with its reason."""
    facts = []
    for outcome in outcomes:
        file = out / "sources" / outcome.source.id / "done.json"
        facts.append(json.dumps(read_json(file, *SOURCE)["facts"]) if file.is_file() else None)
    text = pa.string()
    sources = [outcome.source for outcome in outcomes]
    table = pa.table(
        {
            "id": pa.array([s.id for s in sources], text),
            "path": pa.array([s.path for s in sources], text),
            "root": pa.array([s.root for s in sources], text),
            "case": pa.array([s.case for s in sources], text),
            "split": pa.array([s.split for s in sources], text),
            "status": pa.array([o.status for o in outcomes], text),
            "samples": pa.array([o.samples for o in outcomes], pa.int64()),
            "corrupt": pa.array([o.corrupt for o in outcomes], pa.int64()),
            "reason": pa.array([o.reason for o in outcomes], text),
            "note": pa.array([s.note for s in sources], text),
            "facts": pa.array(facts, text),
        }
    )
    write_table(out / "manifest.parquet", *MANIFEST, table)
    write_csv(out / "manifest.csv", table)
