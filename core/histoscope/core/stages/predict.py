"""Run a package over sources: read, predict, write tables, let the domain draw.

One folder a source, ``results/<source id>``, closed by ``done.json``. The manifest and the report
are derived from these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoscope.core import __version__
from histoscope.core.config import Spec
from histoscope.core.contracts import (
    UNCERTAIN,
    Answer,
    Domain,
    Rendering,
    Results,
    Roots,
    Sampling,
    Source,
)
from histoscope.core.contracts.installed import Found, find_sources, load_domain
from histoscope.core.data.stretches import stretches
from histoscope.core.data.units import behind_ids, sample_keys
from histoscope.core.errors import DataError, UsageError
from histoscope.core.files import read_json, remove_left, write_csv, write_table
from histoscope.core.heads.contract import Bags, Head, Rows, is_ordered
from histoscope.core.inference.runner import Runner
from histoscope.core.packages.info import HeadInfo
from histoscope.core.packages.package import Package, open_package
from histoscope.core.progress import Progress
from histoscope.core.runtime.device import AUTO, Compute
from histoscope.core.stages.doubt import check_doubt
from histoscope.core.stages.given import check_given, encoder_info, find_given, is_given
from histoscope.core.stages.suspects import Suspicion, show, write_ranking
from histoscope.core.work.folder import OutFolder, read_outcomes, work_through
from histoscope.core.work.job import Engine, Turn
from histoscope.core.work.local import ONE_WORKER
from histoscope.core.work.outcome import Outcome, write_manifest
from histoscope.core.work.reading import Opening
from histoscope.core.work.said import say_found, write_unused

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
    suspicious: Suspicion | None = None
    least: float = 0.0
    _opened: tuple[Package, Sequence[Head], Runner] = field(init=False, repr=False)

    def load(self) -> None:
        """Open the package, and load what its first draw needs."""
        package = open_package(self.package)
        encoder, heads = package.first_draw()
        self._opened = package, heads, Runner.of(encoder, self.compute.start())

    def __call__(self, source: Source, turn: Turn) -> Outcome:
        """Predict one source."""
        package, heads, runner = self._opened
        with self.opening.read(source, turn) as reading:
            samples = reading.samples()
            domain, rows = load_domain(self.opening.domain), reading.plan.rows
            answers = _answers(
                package.info.heads,
                heads,
                runner,
                samples,
                lambda: stretches(domain, rows.filter(reading.good())),
                self.least,
                turn.beat,
            )
            levels = [one.task.level for one in answers]
            of_samples, of_source = (
                [one for one, level in zip(answers, levels, strict=True) if level == wanted]
                for wanted in ("sample", "source")
            )
            results = Results(source, reading.judged(), of_samples, of_source)
            more: dict[str, Any] = {"package": package.digest, **runner.where}
            if reading.good().any():
                turn.beat()
                more |= self._write(reading.reader, results, turn.beat)
            return reading.outcome(more)

    def _write(self, reader: Any, results: Results, beat: Callable[[], None]) -> dict[str, Any]:
        """Tables and drawings; what the report needs of them."""
        folder, table = self.out.of(results.source), _table(results)
        write_table(folder / "predictions.parquet", *PREDICTIONS, table)
        write_csv(folder / "predictions.csv", table)
        domain = load_domain(self.opening.domain)
        rendering: Rendering = domain.render(reader, results, self.options, folder)
        suspects = dict[str, Any]()
        if self.suspicious:
            beat()
            told = show(self.suspicious, domain, reader, results, folder, beat)
            suspects = {"suspicious": told}
        return {
            **suspects,
            "answers": [_counts(answer) for answer in results.answers],
            "of_source": [_says(answer) for answer in results.of_source],
            "shown": dict(rendering.facts),
            "artefacts": [asdict(artefact) for artefact in rendering.artefacts],
        }


def _answers(
    infos: Sequence[HeadInfo],
    heads: Sequence[Head],
    runner: Runner,
    samples: Any,
    starts: Callable[[], NDArray[np.int64]],
    least: float,
    beat: Callable[[], None],
) -> list[Answer]:
    """One answer a head; of samples NaN where one is corrupt, of a source only where one is not."""
    weights: list[NDArray[np.floating] | None] = [None for _ in heads]
    scores = [[np.zeros((0, len(head.cut)), np.float32)] for head in heads]
    late = [head.level == "source" or is_ordered(head) for head in heads]  # needs all features
    kept, good = [np.zeros((0, runner.dim), np.float32)], [np.zeros(0, bool)]
    for batch in runner.run(samples):
        bags = Bags.of_samples(batch.features)
        for head, part, later in zip(heads, scores, late, strict=True):
            if not later:
                part.append(_spread(head, bags, batch.good))
        if any(late):
            kept.append(batch.features)
            good.append(batch.good)
    of_all = Bags.of_one(np.concatenate(kept))
    kept.clear()  # of a large source they are as large
    for place, head in enumerate(heads):
        if not late[place]:
            continue
        beat()  # of many samples one answer may take minutes
        if head.level == "sample":
            bags = Bags(of_all.features, starts())
            scores[place].append(_spread(head, bags, np.concatenate(good)))
        elif len(of_all.features):
            told, weights[place] = _answered(head, of_all)
            scores[place].append(told)
    return [
        Answer(
            info.asked_task,
            np.concatenate(part),
            [kind.colour for kind in info.classes],
            head.cut,
            0.0 if info.only_ranks else least,
            counted,
            untold=info.untold[0] if info.untold else (),
        )
        for info, head, part, counted in zip(infos, heads, scores, weights, strict=True)
        if info.level == "sample" or len(part) > 1
    ]


def _answered(head: Head, of_all: Bags) -> tuple[Rows, NDArray[np.floating] | None]:
    """A head's answer about a source, and how much each sample counts in it, where it says so."""
    both = getattr(head, "answered", None)
    if both is None:
        return head.probabilities(of_all), None
    told: tuple[Rows, NDArray[np.floating] | None] = both(of_all.features)
    return told


def _spread(head: Head, bags: Bags, good: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Probabilities of readable samples in their places, NaN in the others, (samples, classes)."""
    scores = np.full((len(good), len(head.cut)), np.nan, np.float32)
    if good.any():
        scores[good] = head.probabilities(bags)
    return scores


def _table(results: Results) -> pa.Table:
    """One row a sample: id, location, status, mark, and the answers of every task."""
    bad = np.array([one != "ok" for one in results.rows.column("status").to_pylist()], dtype=bool)
    ids = pa.array(sample_keys(results.source, results.rows), pa.string())
    table = behind_ids(results.rows, ids)
    for answer in results.answers:
        for name, values in _answer_columns(answer, bad).items():
            table = table.append_column(name, values)
    for answer in results.of_source:
        if answer.weights is not None:
            counted = np.full(len(bad), np.nan)
            counted[~bad] = answer.weights
            values = pa.array(counted, pa.float32(), mask=bad)
            table = table.append_column(f"attention:{answer.task.name}", values)
    return table


def _answer_columns(answer: Answer, bad: NDArray[np.bool_]) -> dict[str, pa.Array]:
    """``class:TASK``, or ``class:TASK:CLASS`` (bool); ``p:TASK:CLASS``; null where corrupt."""
    task, chosen = answer.task, answer.chosen()
    if task.exclusive:
        best = np.array(answer.kinds, dtype=object)[chosen.argmax(axis=1)]
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
            {"name": name, "colour": colour, "samples": int(count)}
            for name, colour, count in zip(answer.kinds, answer.kind_colours, samples, strict=True)
        ],
    }


def _says(answer: Answer) -> dict[str, Any]:
    """What is said of a source: each class, its probability, and whether it holds."""
    (held,), (scores,) = answer.chosen(), answer.probabilities
    return {
        "task": answer.task.name,
        "exclusive": answer.task.exclusive,
        "uncertain": bool(answer.doubts and held[-1]),
        "classes": [
            {
                "name": name,
                "colour": answer.colours[place],
                "probability": float(scores[place]),
                "holds": bool(held[place]),
            }
            for place, name in enumerate(answer.task.classes)
        ],
    }


def _write_answers(out: Path, outcomes: Sequence[Outcome]) -> None:
    """Write ``answers.csv``: what is said of each source as a whole, where a head does."""
    rows = list[dict[str, Any]]()
    for one in outcomes:
        row = {"id": one.source.id, "path": one.source.path, "case": one.source.case}
        for answer in one.more.get("of_source", ()):
            held = [kind["name"] for kind in answer["classes"] if kind["holds"]]
            held += [UNCERTAIN] if answer.get("uncertain") else []
            name = answer["task"]
            row[f"class:{name}"] = "; ".join(held)
            row |= {f"p:{name}:{k['name']}": k["probability"] for k in answer["classes"]}
        rows.append(row)
    names = list(dict.fromkeys(name for row in rows for name in row))
    if any(name.startswith("class:") for name in names):
        columns = {name: [row.get(name) for row in rows] for name in names}
        write_csv(out / "answers.csv", pa.table(columns))


def plan_prediction(
    package: Package,
    domain: Domain,
    roots: Roots,
    options: Spec,
    shard: tuple[int, int],
    *,
    given: bool = False,
) -> tuple[Found, Sampling]:
    """What there is for this shard, and how the package wants it cut.

    Raises:
        DataError: nothing found, or features of another encoder.
        UsageError: images for a package of features, or the other way about.
    """
    info, where = package.info.encoder, str(package.folder)
    if given:
        features = find_given(domain, roots, options)
        folders = ", ".join(map(str, roots.values()))
        check_given(info, encoder_info(domain.name, features), where, folders)
        found = Found([*features.sources], [*features.unused])
    elif is_given(info):
        raise UsageError(
            f"{where}: made from features of {info.network.name}; give --features in place of "
            "INPUTS"
        )
    else:
        found = find_sources(domain, roots, options)
    number, count = shard
    mine = [one for place, one in enumerate(found.sources) if place % count == number - 1]
    return replace(found, sources=mine), package.info.encoder.cut(str(package.folder))


def predict(
    package_folder: Path,
    roots: Roots,
    options: Spec,
    out: Path,
    *,
    engine: Engine = ONE_WORKER,
    compute: Compute = AUTO,
    shard: tuple[int, int] = (1, 1),
    suspicious: Suspicion | None = None,
    uncertain_below: float = 0.0,
    given: bool = False,
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
        suspicious: by what sources are ranked, and whose most probable samples are shown.
        uncertain_below: best score below which a sample, or a source, is given none of exclusive
            classes; 0: it always has one, as where scores only rank.
        given: the roots hold features of another program; the options are those of ``features``.
        progress: who is told.

    Returns:
        One outcome a source of this shard.

    Raises:
        UsageError: see :func:`~histoscope.core.stages.doubt.check_doubt`.
    """
    package = open_package(package_folder)
    package.first_draw()  # refused here, before the folder is claimed
    for line in check_doubt(package.info.heads, uncertain_below):
        progress.say(line)
    domain = load_domain(package.info.encoder.domain)
    found, sampling = plan_prediction(package, domain, roots, options, shard, given=given)
    parameters = {
        "domain": domain.name,
        "model": package.digest,
        "options": None if given else options.named(),
        "features": options.named() if given else None,
        "precision": compute.precision,
        "suspicious": asdict(suspicious) if suspicious else None,
        "uncertain_below": uncertain_below,
    }
    about = {"program": __version__, "package": package.info.model_dump(mode="json")}
    folder = OutFolder(out, PREDICT, parts=RESULTS)
    usual: dict[str, Any] = {"suspicious": None, "uncertain_below": 0.0, "features": None}
    usual["features" if given else "options"] = type(options)().named()
    folder.claim(parameters, about, usual)
    if shard == (1, 1):  # else others may be writing there
        for place in (out, *(out / RESULTS).glob("*")):
            remove_left(place)
    say_found(found, progress)
    compute.say(progress)
    opening = Opening(domain.name, roots, sampling)
    job = PredictJob(opening, options, package_folder, compute, folder, suspicious, uncertain_below)
    outcomes = work_through("predict", found.sources, job, engine, progress)
    write_unused(out, found.unused)
    every = read_outcomes(out / RESULTS)
    write_manifest(out, every)
    _write_answers(out, every)
    write_ranking(out, every)
    return outcomes


def remove_left_reports(out: Path) -> None:
    """Remove what killed calls left half written of what is derived from finished work."""
    for place in (out, *(out / RESULTS).glob("*")):
        for name in ("manifest.*", "report.*"):
            remove_left(place, name)


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
