"""Run a package over sources: read, predict, write tables, let the domain draw.

One folder a source, ``results/<source id>``, closed by ``done.json``. ``manifest.csv`` and
``predict.json`` of the whole are derived from these, without clock times or random names, so
that a second call that finds nothing to do changes nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoscope.core import __version__
from histoscope.core.config import Spec, build
from histoscope.core.contracts import (
    Answer,
    CorruptSample,
    Domain,
    Reader,
    Results,
    Roots,
    Sample,
    Sampling,
    Source,
)
from histoscope.core.contracts.installed import find_sources, load_domain
from histoscope.core.data.index import sample_keys
from histoscope.core.files import write_csv, write_json, write_table
from histoscope.core.packages.package import Package, open_package
from histoscope.core.progress import Progress
from histoscope.core.runtime.ahead import read_ahead
from histoscope.core.runtime.threads import cores
from histoscope.core.work.folder import claim, work_through
from histoscope.core.work.judged import judged
from histoscope.core.work.outcome import Outcome, outcome_of

PREDICT = ("histoscope.predict", 1)


RESULT = ("histoscope.result", 1)


PREDICTIONS = ("histoscope.predictions", 1)


BATCH = 64


@dataclass
class PredictJob:
    """Predict one source into ``results/<id>`` of a folder."""

    domain: str
    roots: Roots
    sampling: Sampling
    options: Spec
    package: Path
    digest: str
    out: Path
    threads: int
    _opened: Package | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the opened package behind: a worker opens its own."""
        return {**self.__dict__, "_opened": None}

    def __call__(self, source: Source) -> Outcome:
        """Predict one source."""
        package = self._package()
        domain = load_domain(self.domain)
        folder = self.out / "results" / source.id
        if folder.exists():
            shutil.rmtree(folder)  # left by a run that was stopped
        with domain.open(source, self.roots, self.sampling, self.options) as reader:
            plan = reader.plan()
            read = _predict(reader, plan.rows, package)
            rows = judged(plan.rows, read.status, read.quality, reader)
            results = Results(source, rows, _answers(package, read))
            corrupt = sum(one != "ok" for one in read.status)
            outcome = outcome_of(source, len(read.status) - corrupt, corrupt, plan.reason)
            if outcome.samples:
                table = _table(results)
                write_table(folder / "predictions.parquet", *PREDICTIONS, table)
                write_csv(folder / "predictions.csv", table)
                rendering = domain.render(reader, results, self.options, folder)
                body = _done(outcome, reader, results, rendering)
                write_json(folder / "done.json", *RESULT, {**body, "package": self.digest})
        return outcome

    def _package(self) -> Package:
        if self._opened is None:
            import torch

            torch.set_num_threads(self.threads)
            self._opened = open_package(self.package)
        return self._opened


@dataclass
class _Read:
    """What became of a source's rows.

    Attributes:
        status: ``ok`` or the reason of a corrupt sample.
        quality: what was measured.
        parts: for each head pieces of (rows, classes), NaN where a sample is corrupt.
    """

    status: list[str]
    quality: list[Mapping[str, float]]
    parts: list[list[NDArray[np.float32]]]


def _predict(reader: Reader, rows: pa.Table, package: Package) -> _Read:
    """Read and predict every row.

    Every batch has the same size, the last one is padded: what is predicted for a sample does
    not depend on how many others there are.
    """
    widths = [len(task.classes) for task in package.tasks]
    out = _Read([], [], [[np.zeros((0, width), np.float32)] for width in widths])
    samples = read_ahead(reader.read(rows), BATCH) if len(rows) else iter(())
    for batch in _batches(samples):
        ok = [isinstance(sample, Sample) for sample in batch]
        good = [sample.image for sample in batch if isinstance(sample, Sample)]
        found: list[NDArray[np.float32]] = []
        if good:
            found = package.probabilities(np.stack(good + [good[-1]] * (BATCH - len(good))))
        for place, width in enumerate(widths):
            part = np.full((len(batch), width), np.nan, dtype=np.float32)
            if good:
                part[ok] = found[place][: len(good)]
            out.parts[place].append(part)
        out.status += [s.reason if isinstance(s, CorruptSample) else "ok" for s in batch]
        out.quality += [s.quality if isinstance(s, Sample) else {} for s in batch]
    return out


def _answers(package: Package, read: _Read) -> list[Answer]:
    """One answer a head, of the first draw."""
    return [
        Answer(
            head.asked_task,
            np.concatenate(parts),
            [kind.colour for kind in head.classes],
            heads[0].cut,
        )
        for head, heads, parts in zip(package.info.heads, package.heads, read.parts, strict=True)
    ]


def _batches(
    samples: Iterator[Sample | CorruptSample],
) -> Iterator[list[Sample | CorruptSample]]:
    while batch := list(islice(samples, BATCH)):
        yield batch


def _table(results: Results) -> pa.Table:
    """One row a sample: id, location, status, mark, and the answers of every task."""
    bad = np.array([one != "ok" for one in results.rows.column("status").to_pylist()], dtype=bool)
    table = results.rows
    if "key" in table.column_names:
        table = table.drop_columns(["key"])
    ids = pa.array(sample_keys(results.source, results.rows), pa.string())
    table = table.add_column(0, "id", ids)
    for answer in results.answers:
        for name, values in _answer_columns(answer, bad).items():
            table = table.append_column(name, values)
    return table


def _answer_columns(answer: Answer, bad: NDArray[np.bool_]) -> dict[str, pa.Array]:
    """``class:TASK``, or ``class:TASK:CLASS`` (bool); ``p:TASK:CLASS``; null where corrupt."""
    task, chosen = answer.task, answer.chosen()
    if task.exclusive:
        best = np.array(task.classes, dtype=object)[chosen.argmax(axis=1)]
        columns = {f"class:{task.name}": pa.array(best, pa.string(), mask=bad)}
    else:
        columns = {
            f"class:{task.name}:{name}": pa.array(chosen[:, place], pa.bool_(), mask=bad)
            for place, name in enumerate(task.classes)
        }
    for place, name in enumerate(task.classes):
        values = answer.probabilities[:, place]
        columns[f"p:{task.name}:{name}"] = pa.array(values, pa.float32(), mask=bad)
    return columns


def _counts(answer: Answer) -> dict[str, Any]:
    """How many samples each class was given."""
    samples = answer.chosen().sum(axis=0)
    return {
        "task": answer.task.name,
        "exclusive": answer.task.exclusive,
        "classes": [
            {"name": name, "colour": answer.colours[place], "samples": int(samples[place])}
            for place, name in enumerate(answer.task.classes)
        ],
    }


def _done(outcome: Outcome, reader: Reader, results: Results, rendering: Any) -> dict[str, Any]:
    source = outcome.source
    return {
        "source": {"id": source.id, "path": source.path, "root": source.root, "case": source.case},
        "samples": outcome.samples,
        "corrupt": outcome.corrupt,
        "reason": outcome.reason,
        "facts": dict(reader.facts),
        "answers": [_counts(answer) for answer in results.answers],
        "shown": dict(rendering.facts),
        "artefacts": [vars(artefact) for artefact in rendering.artefacts],
        "device": "cpu",
        "precision": "float32",
    }


def plan_prediction(
    package: Package, domain: Domain, roots: Roots, options: Spec, shard: tuple[int, int]
) -> tuple[list[Source], Sampling]:
    """The sources of this shard, and how the package wants them cut.

    Raises:
        DataError: nothing found.
    """
    found = find_sources(domain, roots, options)
    number, count = shard
    mine = [source for place, source in enumerate(found) if place % count == number - 1]
    return mine, build(domain.sampling, package.info.encoder.sampling, str(package.folder))


def predict(
    package_folder: Path,
    roots: Roots,
    options: Spec,
    out: Path,
    *,
    shard: tuple[int, int] = (1, 1),
    workers: int = 1,
    progress: Progress,
) -> list[Outcome]:
    """Predict every source below the roots; goes on after a bad one, skips what is done.

    Args:
        package_folder: the model package.
        roots: name to folder or file.
        options: the domain's options of ``predict``.
        out: folder of the results; of this package only.
        shard: (number from 1, count): this call's part of the sources.
        workers: processes; 0 predicts in this one.
        progress: who is told.

    Returns:
        One outcome a source of this shard.
    """
    package = open_package(package_folder)
    domain = load_domain(package.info.encoder.domain)
    sources, sampling = plan_prediction(package, domain, roots, options, shard)
    digest = package.digest
    body = {
        "domain": domain.name,
        "model": digest,
        "options": options.model_dump(mode="json"),
        "program": __version__,
        "package": package.info.model_dump(mode="json"),
    }
    claim(out, PREDICT, body, {"model": "another package", "options": "other options"})
    threads = max(1, cores() // max(1, workers))
    job = PredictJob(domain.name, roots, sampling, options, package_folder, digest, out, threads)
    return work_through(
        out, sources, job, lambda s: out / "results" / s.id / "done.json", workers, progress
    )
