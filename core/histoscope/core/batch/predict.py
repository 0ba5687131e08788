"""Run a package over sources: read, predict, write tables, let the domain draw.

One folder a source, ``results/<source id>``, closed by ``done.json``. ``manifest.csv`` and
``predict.json`` of the whole are derived from these, without clock times or random names, so
that a second call that finds nothing to do changes nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoscope.core import __version__
from histoscope.core.batch.engine import Outcome, status_of
from histoscope.core.batch.folder import claim, work_through
from histoscope.core.config import Spec, build
from histoscope.core.contracts import (
    CorruptSample,
    Domain,
    Reader,
    Results,
    Roots,
    Sample,
    Sampling,
    Source,
)
from histoscope.core.data.prepare import sample_keys
from histoscope.core.domains import load_domain
from histoscope.core.errors import DataError
from histoscope.core.files import sha256_of, write_csv, write_json, write_table
from histoscope.core.packages.package import Package, open_package
from histoscope.core.progress import Progress
from histoscope.core.training.device import set_threads

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
            status, probabilities = _predict(reader, plan.rows, package)
            rows = plan.rows.append_column("status", pa.array(status, pa.string()))
            colours = [kind.colour for kind in package.head_info.classes]
            results = Results(rows, package.task, probabilities, colours)
            outcome = _outcome(source, status, plan.reason)
            if outcome.samples:
                table = _table(source, results)
                write_table(folder / "predictions.parquet", *PREDICTIONS, table)
                write_csv(folder / "predictions.csv", table)
                rendering = domain.render(reader, results, folder)
                body = _done(outcome, reader, results, rendering)
                write_json(folder / "done.json", *RESULT, {**body, "package": self.digest})
        return outcome

    def _package(self) -> Package:
        if self._opened is None:
            import torch

            torch.set_num_threads(self.threads)
            self._opened = open_package(self.package)
        return self._opened


def _predict(
    reader: Reader, rows: pa.Table, package: Package
) -> tuple[list[str], NDArray[np.float32]]:
    """Status of each row and probabilities, NaN where a sample is corrupt.

    Every batch has the same size, the last one is padded: what is predicted for a sample does
    not depend on how many others there are.
    """
    classes = len(package.task.classes)
    status, out = list[str](), list[NDArray[np.float32]]()
    samples = reader.read(rows) if len(rows) else iter(())
    for batch in _batches(samples):
        good = [sample.image for sample in batch if isinstance(sample, Sample)]
        part = np.full((len(batch), classes), np.nan, dtype=np.float32)
        if good:
            padded = np.stack(good + [good[-1]] * (BATCH - len(good)))
            ok = [isinstance(sample, Sample) for sample in batch]
            part[ok] = package.probabilities(padded)[: len(good)]
        status += [s.reason if isinstance(s, CorruptSample) else "ok" for s in batch]
        out.append(part)
    empty = np.zeros((0, classes), dtype=np.float32)
    return status, np.concatenate(out) if out else empty


def _batches(
    samples: Iterator[Sample | CorruptSample],
) -> Iterator[list[Sample | CorruptSample]]:
    while batch := list(islice(samples, BATCH)):
        yield batch


def _outcome(source: Source, status: Sequence[str], reason: str) -> Outcome:
    good = sum(one == "ok" for one in status)
    corrupt = len(status) - good
    if corrupt:
        reason = "; ".join(filter(None, [reason, f"{corrupt} samples unreadable"]))
    return Outcome(source, status_of(good, corrupt), good, corrupt, reason)


def _table(source: Source, results: Results) -> pa.Table:
    """One row a sample: id, location, status, class, probability of each class."""
    ok = np.array([one == "ok" for one in results.rows.column("status").to_pylist()], dtype=bool)
    best = [
        results.task.classes[int(p.argmax())] if good else None
        for p, good in zip(results.probabilities, ok, strict=True)
    ]
    table = results.rows
    if "key" in table.column_names:
        table = table.drop_columns(["key"])
    table = table.add_column(0, "id", pa.array(sample_keys(source, results.rows), pa.string()))
    table = table.append_column("class", pa.array(best, pa.string()))
    for place, name in enumerate(results.task.classes):
        values = pa.array(results.probabilities[:, place], pa.float32(), mask=~ok)
        table = table.append_column(f"p:{name}", values)
    return table


def _done(outcome: Outcome, reader: Reader, results: Results, rendering: Any) -> dict[str, Any]:
    counted = np.nan_to_num(results.probabilities, nan=-1)
    best = counted.argmax(axis=1)[counted.max(axis=1, initial=-1) >= 0]
    source = outcome.source
    return {
        "source": {"id": source.id, "path": source.path, "root": source.root, "case": source.case},
        "samples": outcome.samples,
        "corrupt": outcome.corrupt,
        "reason": outcome.reason,
        "facts": dict(reader.facts),
        "task": results.task.name,
        "classes": [
            {"name": name, "colour": results.colours[place], "samples": int((best == place).sum())}
            for place, name in enumerate(results.task.classes)
        ],
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
    found = list(domain.find(roots, options))
    if not found:
        raise DataError(f"{', '.join(map(str, roots.values()))}: nothing found to predict")
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
    digest = sha256_of(package_folder / "model.safetensors")
    body = {
        "domain": domain.name,
        "model": digest,
        "options": options.model_dump(mode="json"),
        "program": __version__,
        "package": package.info.model_dump(mode="json"),
    }
    claim(out, PREDICT, body, {"model": "another package", "options": "other options"})
    threads = max(1, set_threads(None, 0, progress) // max(1, workers))
    job = PredictJob(domain.name, roots, sampling, options, package_folder, digest, out, threads)
    return work_through(
        out, sources, job, lambda s: out / "results" / s.id / "done.json", workers, progress
    )
