"""Run a package over sources: read, predict, write tables, let the domain draw.

One folder a source, ``results/<source id>``, closed by ``done.json``. The manifest and the report
are derived from these.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoscope.core import __version__
from histoscope.core.config import Spec
from histoscope.core.contracts import Answer, Domain, Rendering, Results, Roots, Sampling, Source
from histoscope.core.contracts.installed import find_sources, load_domain
from histoscope.core.data.units import behind_ids, sample_keys
from histoscope.core.errors import DataError
from histoscope.core.files import read_json, write_csv, write_table
from histoscope.core.inference.runner import Runner
from histoscope.core.packages.package import Package, open_package
from histoscope.core.progress import Progress
from histoscope.core.runtime.device import AUTO, Compute
from histoscope.core.work.folder import OutFolder, read_outcomes, work_through
from histoscope.core.work.job import Engine, Turn
from histoscope.core.work.local import ONE_WORKER
from histoscope.core.work.outcome import Outcome, write_manifest
from histoscope.core.work.reading import Opening

PREDICT = ("histoscope.predict", 2)
PREDICTIONS = ("histoscope.predictions", 1)
RESULTS = "results"


@dataclass
class PredictJob:
    """Predict one source into ``results/<id>`` of a folder."""

    opening: Opening
    options: Spec
    package: Path
    compute: Compute
    out: OutFolder
    _opened: tuple[Package, Runner] = field(init=False, repr=False)

    def load(self) -> None:
        """Open the package."""
        package = open_package(self.package)
        self._opened = package, Runner.of(package.encoder(), self.compute.start())

    def __call__(self, source: Source, turn: Turn) -> Outcome:
        """Predict one source."""
        package, runner = self._opened
        with self.opening.read(source, turn) as reading:
            answers = _answers(package, runner, reading.samples())
            results = Results(source, reading.judged(), answers)
            more: dict[str, Any] = {"package": package.digest, **runner.where}
            if reading.good().any():
                turn.beat()
                more |= self._write(reading.reader, results)
            return reading.outcome(more)

    def _write(self, reader: Any, results: Results) -> dict[str, Any]:
        """Tables and drawings; what the report needs of them."""
        folder, table = self.out.of(results.source), _table(results)
        write_table(folder / "predictions.parquet", *PREDICTIONS, table)
        write_csv(folder / "predictions.csv", table)
        domain = load_domain(self.opening.domain)
        rendering: Rendering = domain.render(reader, results, self.options, folder)
        return {
            "answers": [_counts(answer) for answer in results.answers],
            "shown": dict(rendering.facts),
            "artefacts": [asdict(artefact) for artefact in rendering.artefacts],
        }


def _answers(package: Package, runner: Runner, samples: Any) -> list[Answer]:
    """One answer a head, of the first draw; NaN where a sample is corrupt."""
    parts = [[np.zeros((0, len(task.classes)), np.float32)] for task in package.tasks]
    for batch in runner.run(samples):
        for part, heads in zip(parts, package.heads, strict=True):
            scores = np.full((len(batch.samples), part[0].shape[1]), np.nan, np.float32)
            if batch.good.any():
                scores[batch.good] = heads[0].probabilities(batch.features)
            part.append(scores)
    return [
        Answer(
            head.asked_task,
            np.concatenate(part),
            [kind.colour for kind in head.classes],
            heads[0].cut,
        )
        for head, heads, part in zip(package.info.heads, package.heads, parts, strict=True)
    ]


def _table(results: Results) -> pa.Table:
    """One row a sample: id, location, status, mark, and the answers of every task."""
    bad = np.array([one != "ok" for one in results.rows.column("status").to_pylist()], dtype=bool)
    ids = pa.array(sample_keys(results.source, results.rows), pa.string())
    table = behind_ids(results.rows, ids)
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
    return mine, package.info.encoder.cut(str(package.folder))


def predict(
    package_folder: Path,
    roots: Roots,
    options: Spec,
    out: Path,
    *,
    engine: Engine = ONE_WORKER,
    compute: Compute = AUTO,
    shard: tuple[int, int] = (1, 1),
    progress: Progress,
) -> list[Outcome]:
    """Predict every source below the roots; goes on after a bad one, skips what is done.

    Args:
        package_folder: the model package.
        roots: name to folder or file.
        options: the domain's options of ``predict``.
        out: folder of the results; of this package only.
        engine: who does the work.
        compute: where the network runs.
        shard: (number from 1, count): this call's part of the sources.
        progress: who is told.

    Returns:
        One outcome a source of this shard.
    """
    package = open_package(package_folder)
    domain = load_domain(package.info.encoder.domain)
    sources, sampling = plan_prediction(package, domain, roots, options, shard)
    parameters = {
        "domain": domain.name,
        "model": package.digest,
        "options": options.model_dump(mode="json"),
        "precision": compute.precision,
    }
    about = {"program": __version__, "package": package.info.model_dump(mode="json")}
    folder = OutFolder(out, PREDICT, parts=RESULTS)
    folder.claim(parameters, about)
    compute.say(progress)
    opening = Opening(domain.name, roots, sampling)
    job = PredictJob(opening, options, package_folder, compute, folder)
    outcomes = work_through("predict", sources, job, engine, progress)
    write_manifest(out, read_outcomes(out / RESULTS))
    return outcomes


def read_results(out: Path) -> tuple[dict[str, Any], list[Outcome]]:
    """What ``predict.json`` says, and all outcomes, whichever shard made them.

    Raises:
        DataError: no results there, or of another program's version.
    """
    if not (out / "predict.json").is_file():
        raise DataError(f"{out}: no results here; give a folder that 'histoscope predict' wrote")
    about = read_json(out / "predict.json", *PREDICT)
    if about["version"] < PREDICT[1]:
        raise DataError(
            f"{out}: results of an older histoscope; make them anew: "
            "histoscope predict INPUTS --package PACKAGE --out ANOTHER"
        )
    return about, read_outcomes(out / RESULTS)
