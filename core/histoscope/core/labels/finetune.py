"""From few labels to a model package: several draws, one of which predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from histoscope.core.contracts import Task
from histoscope.core.data.store import Store
from histoscope.core.encoders.choose import open_encoder
from histoscope.core.encoders.folder import LoadedEncoder, digest_units
from histoscope.core.errors import DataError, UsageError
from histoscope.core.files import digest_of, holds_anything
from histoscope.core.labels.draws import draw_labels
from histoscope.core.labels.features import features_of
from histoscope.core.labels.full import fine_tune
from histoscope.core.labels.labelled import UNKNOWN, Labelled, labelled_rows, tasks_of
from histoscope.core.labels.probe import LinearHead, fit_probe, with_thresholds
from histoscope.core.labels.spec import FinetuneSpec
from histoscope.core.packages.package import (
    HeadInfo,
    Package,
    PackageInfo,
    class_infos,
    open_package,
    tuned,
    write_package,
)
from histoscope.core.progress import Progress


@dataclass(frozen=True)
class _Asked:
    """One task, its labelled training samples, and the draws from them."""

    task: Task
    train: Labelled
    draws: list[NDArray[np.int64]]

    def rows(self, draw: int) -> NDArray[np.int64]:
        """Index rows of a draw."""
        return self.train.rows[self.draws[draw]]


def finetune(
    store: Store,
    encoder: str,
    spec: FinetuneSpec,
    out: Path,
    *,
    tasks: tuple[str, ...] = (),
    labels: Path | None = None,
    split: str | None = None,
    progress: Progress,
) -> Package:
    """Fit one head a task and draw (and, with ``full``, one encoder a draw); write the package.

    Args:
        store: whose ``train`` split is read.
        encoder: a run, a package, ``timm:NAME``, ``random:NAME`` or ``colour``.
        spec: method, fraction, draws.
        out: the package's folder, absent or empty.
        tasks: which label tables of the store, one head each; none: the only one.
        labels: a label table's file instead.
        split: ``FILE:PART`` or ``NAME:PART`` instead of the store's split.
        progress: who is told.

    Raises:
        UsageError: ``out`` holds something, or the encoder's word names none.
        DataError: a class without a label, or an encoder that does not fit the store.
    """
    if holds_anything(out):
        raise UsageError(f"{out}: not empty; give another --out")
    tables = tasks_of(store, tasks, labels)
    loaded = open_encoder(encoder, store, spec.seed)
    asked = [_ask(store, task, table, spec, split, progress) for task, table in tables]
    encoders, heads = _fit(store, loaded, asked, spec, progress)
    seen = loaded.seen
    for one in asked:
        used = np.unique(np.concatenate(one.draws))
        seen |= digest_units(one.train.units[place] for place in used)
    infos, colours = list[HeadInfo](), 0
    for one, fitted in zip(asked, heads, strict=True):
        infos.append(_describe(store, one, fitted, spec, colours))
        colours += len(one.task.classes)
    # what predict must cut is what the heads were fitted on, which check_fits found compatible
    info = loaded.info.model_copy(update={"sampling": store.about["sampling"]})
    write_package(out, PackageInfo(encoder=info, heads=infos), encoders, heads, seen)
    return open_package(out)


def _ask(
    store: Store,
    task: Task,
    table: object,
    spec: FinetuneSpec,
    split: str | None,
    progress: Progress,
) -> _Asked:
    train = labelled_rows(store, "train", task, table, split)
    _check_classes(store, task, train)
    cases = store.index.column("case").take(train.rows).to_pylist()
    draws = [
        draw_labels(train.truth, cases, spec.fraction, draw, spec.seed, spec.draw_by)
        for draw in range(spec.draws)
    ]
    sizes = sorted({len(draw) for draw in draws})
    progress.say(
        f"finetune {task.name} reads {train.said}, {len(train.rows)} with labels; {spec.draws} "
        f"draws of {' to '.join(map(str, sorted({sizes[0], sizes[-1]})))} labels"
    )
    return _Asked(task, train, draws)


def _describe(
    store: Store,
    one: _Asked,
    fitted: Sequence[LinearHead],
    spec: FinetuneSpec,
    first_colour: int,
) -> HeadInfo:
    exclusive, ids = one.task.exclusive, store.index.column("id")
    return HeadInfo(
        task=one.task.name,
        level=one.task.level,
        exclusive=exclusive,
        classes=class_infos(one.task, first_colour),
        method=spec.method,
        labels=[len(draw) for draw in one.draws],
        drawn=[digest_of(ids.take(one.rows(d)).to_pylist()) for d in range(spec.draws)],
        fraction=spec.fraction,
        draw_by=spec.draw_by,
        seed=spec.seed,
        calibration={"kind": "none", "reason": "none is fitted; scores only rank"},
        thresholds=None if exclusive else [[float(c) for c in head.cut] for head in fitted],
    )


def _check_classes(store: Store, task: Task, train: Labelled) -> None:
    """Refuse a single exclusive class, and one that has no label to learn from."""
    if not task.exclusive:
        return  # a class that never occurs is predicted as rarely as that
    held = train.present(task)
    missing = [name for name, has in zip(task.classes, held, strict=True) if not has]
    if missing:
        raise DataError(
            f"{store.path}: {train.said}, but none labelled {', '.join(missing)}; every class of "
            f"{task.name!r} needs one"
        )
    if len(task.classes) < 2:
        raise DataError(
            f"{store.path}: {task.classes[0]} is the only class of {task.name!r}; "
            "a model needs two or more"
        )


def _fit(
    store: Store,
    loaded: LoadedEncoder,
    asked: Sequence[_Asked],
    spec: FinetuneSpec,
    progress: Progress,
) -> tuple[list[LoadedEncoder], list[list[LinearHead]]]:
    """Encoders (one, shared, for probes), and for each task its heads, one a draw."""
    used = np.unique(np.concatenate([one.rows(d) for one in asked for d in range(spec.draws)]))
    features = features_of(loaded, store, used, progress)
    encoders, heads = [loaded], [list[LinearHead]() for _ in asked]
    progress.start("finetune", spec.draws, "draws")
    for draw in range(spec.draws):
        fitted = [
            _probe(one, features[np.searchsorted(used, one.rows(draw))], draw, spec)
            for one in asked
        ]
        if spec.method == "full":
            rows = np.unique(np.concatenate([one.rows(draw) for one in asked]))
            images = np.stack(list(store.images(rows)))
            truths = [_spread(one, draw, rows) for one in asked]
            module, fitted = fine_tune(loaded, images, truths, fitted, spec.full, spec.seed, draw)
            encoders = [*(encoders if draw else []), tuned(loaded, module)]
        for kept, head in zip(heads, fitted, strict=True):
            kept.append(head)
        progress.advance()
    progress.finish()
    return encoders, heads


def _probe(one: _Asked, features: NDArray[np.float32], draw: int, spec: FinetuneSpec) -> LinearHead:
    truth = one.train.truth[one.draws[draw]]
    head = fit_probe(features, truth, len(one.task.classes), spec.strength)
    return head if one.task.exclusive else with_thresholds(head, features, truth, spec.strength)


def _spread(one: _Asked, draw: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Truth of a draw at the index rows of all tasks' draws; -1 where this task has none."""
    truth = one.train.truth
    out = np.full((len(rows), *truth.shape[1:]), UNKNOWN, np.int64)
    out[np.searchsorted(rows, one.rows(draw))] = truth[one.draws[draw]]
    return out
