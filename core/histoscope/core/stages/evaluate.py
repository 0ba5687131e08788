"""Evaluate a package on labelled samples that it has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from histoscope.core.contracts import Comparing, Task
from histoscope.core.contracts.installed import load_domain
from histoscope.core.data.examples import (
    Context,
    Examples,
    labelled,
    note_mixed_cases,
    unit_name,
)
from histoscope.core.data.labels import LabelTable
from histoscope.core.data.selection import select
from histoscope.core.data.store import Store
from histoscope.core.data.units import digest_units
from histoscope.core.errors import DataError
from histoscope.core.evaluation.amounts import amount_errors
from histoscope.core.evaluation.cautions import cautions_of
from histoscope.core.evaluation.intervals import Ends, bootstrap
from histoscope.core.evaluation.measure import Scores, Thresholds, measure
from histoscope.core.evaluation.pictures import draw_confusion
from histoscope.core.evaluation.predictions import write_predictions
from histoscope.core.files import digest_of, write_json
from histoscope.core.heads.contract import Bags, is_ordered
from histoscope.core.inference.features import features_of
from histoscope.core.inference.runner import Runner
from histoscope.core.learning.thresholds import untold_cautions
from histoscope.core.packages.info import HeadInfo
from histoscope.core.packages.package import Package
from histoscope.core.progress import Progress
from histoscope.core.runtime.device import AUTO, Compute
from histoscope.core.stages.encoders import check_fits
from histoscope.core.stages.leakage import leakage
from histoscope.core.work.folder import OutFolder

METRICS = ("histoscope.metrics", 1)
SUMMARY = (
    *(
        "samples",
        "sources",
        "read",
        "interval_over",
        "units",
        "draws",
        "labels",
        "unit",
        "cautions",
    ),
    *("cautions", "balanced_accuracy", "auc", "recall"),
    *("mean_average_precision", "mean_average_precision_by_unit", "average_precision"),
    *("finding", "certain", "amounts"),
)


def evaluate(
    package: Package,
    store: Store,
    out: Path,
    *,
    compute: Compute = AUTO,
    split: str | None = None,
    labels: Path | None = None,
    allow_seen: bool = False,
    progress: Progress,
) -> dict[str, Any]:
    """Score every draw of a package's heads; writes ``metrics.json`` and pictures.

    Args:
        package: what is scored.
        store: whose ``test`` split is read.
        out: folder for the results.
        compute: where the network runs.
        split: ``FILE:PART`` or ``NAME:PART`` instead.
        labels: a label table instead of the store's.
        allow_seen: score also what the package was trained on, and say so.
        progress: who is told.

    Returns:
        The body of ``metrics.json``: under ``tasks`` one entry for each head that labels answer.

    Raises:
        UsageError: ``out`` holds something else, or an evaluation of another package.
        DataError: other scale, other classes, no labels, or data that the package has seen.
    """
    folder = OutFolder(out, METRICS, closing="metrics.json")
    folder.check({"model": package.digest})
    check_fits(package.info.encoder, store, str(package.folder))
    tests = _tests(package, store, labels, split, progress)
    cautions = {
        place: [
            *seen_before(test, package.seen, str(package.folder), allow_seen),
            *cautions_of(test, len(package.info.heads[place].labels)),
            *untold_cautions(package.info.heads[place].untold or ()),
        ]
        for place, test in tests.items()
    }
    for place, test in tests.items():
        progress.say(f"evaluate {package.tasks[place].name} reads {test.said}")
        note_mixed_cases(test, progress)
    among = select(store, "test", split).rows
    read = {
        place: test.context(store, among, is_ordered(package.head(place)))
        for place, test in tests.items()
    }
    rows = np.unique(np.concatenate([its.rows for its in read.values()]))
    runner = Runner.of(package.encoder(), compute)
    compute.say(progress)
    scores, features = _probabilities(package, store, read, rows, runner, progress)
    for place, test in tests.items():
        tasks = learnt_from(package, place)
        if len(tasks) > 1:
            others = ", ".join(name for name in tasks if name != package.tasks[place].name)
            cautions[place].append(f"all weights were learnt from labels of {others}, too")
        cautions[place] += leakage(
            package, tasks, store, test.rows, features, rows, runner, progress
        )
    body: dict[str, Any] = {"model": package.digest, **runner.where, "tasks": {}}
    for place, test in tests.items():
        head = package.info.heads[place]
        measured = measured_of(head, test, scores[place], head.thresholds or [])
        off = _amounts(store, test, scores[place])
        body["tasks"][head.task] = {**measured, **off, "cautions": cautions[place]}
    write_evaluation(out, body, [(test, scores[place]) for place, test in tests.items()])
    return body


def _amounts(store: Store, test: Examples, scores: Scores) -> dict[str, Any]:
    """Under ``amounts`` what :func:`amount_errors` says of the draw that predicts, with its unit.

    Nothing where the domain does not ask for amounts.
    """
    domain = load_domain(store.domain)
    if not (isinstance(domain, Comparing) and test.task.exclusive and test.task.level == "sample"):
        return {}
    of = store.index.column("source")
    each = {
        name: domain.amount(store.index.filter(pc.equal(of, name)))
        for name in sorted(set(test.sources))
    }
    return {"amounts": {"unit": domain.amount_unit, **amount_errors(test, scores[0], each)}}


def write_evaluation(
    out: Path, body: Mapping[str, Any], scored: Sequence[tuple[Examples, Scores]]
) -> None:
    """Write ``metrics.json``, what was said of each example, and pictures of exclusive classes."""
    for old in (*out.glob("confusion-*.png"), *out.glob("scored-*.parquet")):
        old.unlink()
    write_json(out / "metrics.json", *METRICS, body)  # first: it says whose the folder is
    for test, scores in scored:
        write_predictions(out, test, scores)
    for name, one in body["tasks"].items():
        if one["exclusive"]:
            picture = out / f"confusion-{name}.png"
            draw_confusion(np.array(one["confusion"]), one["classes"], picture)


def measured_of(
    head: HeadInfo, test: Examples, scores: Scores, thresholds: Thresholds, ends: Ends = bootstrap
) -> dict[str, Any]:
    """What ``metrics.json`` says of a head, but its cautions. See :func:`measure`."""
    of_sources = {"sources": len(test)} if head.level == "source" else {}
    return {
        "exclusive": head.exclusive,
        "classes": list(test.task.classes),
        "unit": "fraction",
        "samples": len(test.rows),
        **of_sources,
        "read": test.said,
        "interval_over": unit_name(test.units),
        "units": len(set(test.units)),
        "draws": len(scores),
        "labels": list(head.labels),
        "drawn": list(head.drawn),
        "tested": digest_of(test.told()),
        **measure(test, scores, thresholds, ends),
    }


def _tests(
    package: Package, store: Store, file: Path | None, split: str | None, progress: Progress
) -> dict[int, Examples]:
    """Labelled test samples or sources by the head that they can score."""
    tables: dict[str, LabelTable] = {}
    if file:
        read = LabelTable.read(file)
        tables[read.task.name] = read
        if len(package.tasks) == 1:  # a file for the only head may call its task anything
            tables = {package.tasks[0].name: read}
    else:
        known = set(store.tasks())
        tables = {
            task.name: store.labels(task.name) for task in package.tasks if task.name in known
        }
    tests, reasons = {}, list[str]()
    for place, task in enumerate(package.tasks):
        if task.name not in tables:
            reasons.append(f"no labels for {task.name}")
            continue
        _same_question(task, tables[task.name], store)
        table = replace(tables[task.name], task=task)  # in the package's order of classes
        try:
            tests[place] = labelled(store, "test", table, split)
        except DataError as fault:
            reasons.append(str(fault))
    if not tests:
        found = (
            f"the label table is of {', '.join(tables)}"
            if file
            else (f"label tables there: {', '.join(store.tasks()) or 'none'}")
        )
        raise DataError(f"{store.path}: nothing to score: {'; '.join(reasons)} ({found})")
    for reason in reasons:
        progress.say(f"not scored: {reason}")
    return tests


def _same_question(ours: Task, table: LabelTable, store: Store) -> None:
    theirs = table.task
    if ours.asks != theirs.asks:
        raise DataError(
            f"{store.path}: labels of {theirs.name} have {theirs.asks}, the package answers with "
            f"{ours.asks}"
        )
    held = table.truth(table.names).present
    named = {name for name, has in zip(theirs.classes, held, strict=True) if has}
    extra = sorted(named - set(ours.classes))
    if extra:
        raise DataError(
            f"{store.path}: has classes that the package does not know ({', '.join(extra)}); "
            f"the package knows {', '.join(ours.classes)}; give labels of these"
        )
    missing = sorted(set(ours.classes) - set(theirs.classes))
    if missing:
        raise DataError(f"{store.path}: has no label of the package's {', '.join(missing)}")


def seen_before(
    test: Examples, seen: frozenset[str], whose: str, allow_seen: bool, by: str = "package"
) -> list[str]:
    """What was seen of these data, or a refusal.

    Args:
        test: what is scored.
        seen: digests of units.
        whose: the package, or the encoder, that has seen them.
        allow_seen: say so, instead of a refusal.
        by: what it is.
    """
    known = digest_units(test.units) & seen
    if not known:
        return []
    share = f"{len(known)} of {len(set(test.units))} {unit_name(test.units)}"
    if not allow_seen:
        raise DataError(
            f"{whose}: was trained on {share} of this data; evaluate on others, "
            "or give --allow-seen to score it all the same"
        )
    return [f"SEEN BEFORE: the {by} was trained on {share}; too good to be true"]


def learnt_from(package: Package, place: int) -> list[str]:
    """Tasks whose labels a head has learnt from: its own, or all where they trained the encoder."""
    head = package.info.heads[place]
    return [task.name for task in package.tasks] if head.trained else [head.task]


def _probabilities(
    package: Package,
    store: Store,
    read: Mapping[int, Context],
    rows: NDArray[np.int64],
    runner: Runner,
    progress: Progress,
) -> tuple[dict[int, list[NDArray[np.float32]]], NDArray[np.float32]]:
    """For each head and draw (examples, classes); and the features of the first draw's encoder.

    Args:
        package: evaluated.
        store: of the images.
        read: for what is scored, by head.
        rows: its sorted index rows.
        runner: of the first draw's encoder; others run as it does.
        progress: who is told.
    """
    first = shared = features_of(runner, store, rows, progress)
    out: dict[int, list[NDArray[np.float32]]] = {place: [] for place in read}
    for draw in range(package.draws):
        if draw and package.encoders > 1:
            its = runner.like(package.encoder(draw))
            shared = features_of(its, store, rows, progress)
        for place, seen in read.items():
            bags = Bags(shared[np.searchsorted(rows, seen.rows)], seen.starts)
            out[place].append(package.head(place, draw).probabilities(bags)[seen.places])
    return out, first


def summaries(body: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What a package keeps of an evaluation, by task."""
    return {
        task: {name: one[name] for name in SUMMARY if name in one}
        for task, one in body["tasks"].items()
    }
