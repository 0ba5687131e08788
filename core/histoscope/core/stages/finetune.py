"""From few labels to a model package: several draws, one of which predicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoscope.core.contracts import Task
from histoscope.core.data.examples import Examples, labelled, note_mixed_cases, tables_of
from histoscope.core.data.labels import LabelTable
from histoscope.core.data.selection import select
from histoscope.core.data.store import Store
from histoscope.core.data.truth import Truth
from histoscope.core.data.units import digest_units
from histoscope.core.errors import DataError, UsageError
from histoscope.core.files import digest_of
from histoscope.core.inference.runner import Runner
from histoscope.core.labelling.task import class_line
from histoscope.core.learning import FITTERS
from histoscope.core.learning.contract import Fitted, Fitter
from histoscope.core.learning.draws import (
    draw_cases,
    draw_labels,
    draw_whole_cases,
    named_cases,
)
from histoscope.core.learning.fit import Asked, fit_heads
from histoscope.core.learning.spec import BY_CASES, FinetuneSpec
from histoscope.core.packages.info import HeadInfo, PackageInfo, class_infos
from histoscope.core.packages.package import (
    DRAWN,
    FILES,
    PACKAGE,
    SUMS,
    Package,
    open_package,
    write_package,
)
from histoscope.core.progress import Progress
from histoscope.core.runtime.device import AUTO, Compute
from histoscope.core.stages.cuts import cut_encoder
from histoscope.core.stages.encoders import open_encoder
from histoscope.core.stages.subsets import with_subsets
from histoscope.core.work.folder import OutFolder


def finetune(
    store: Store,
    encoder: str,
    spec: FinetuneSpec,
    out: Path,
    *,
    compute: Compute = AUTO,
    tasks: tuple[str, ...] = (),
    labels: Path | None = None,
    classes: Sequence[str] = (),
    split: str | None = None,
    progress: Progress,
) -> Package:
    """Fit a head for each task and draw, where asked an encoder too, and write the package.

    Args:
        store: whose ``train`` split is read.
        encoder: the folder of a run, a package or imported weights, ``timm:NAME``,
            ``random:NAME`` or ``colour``.
        spec: method and draws.
        out: the package's folder, absent or empty, or what a call that was cut off left in it.
        compute: where the network runs.
        tasks: which label tables of the store, one head each; none: the only one.
        labels: a label table's file instead.
        classes: those that are learnt, of the only task; none: all. Those left out have no label.
        split: ``FILE:PART`` or ``NAME:PART`` instead of the store's split.
        progress: who is told.

    Raises:
        UsageError: ``out`` holds something, or the encoder's word names none.
        DataError: a class without a label, or an encoder that does not fit the store.
    """
    left = [*FILES, f"{SUMS}.next"]
    OutFolder(out, PACKAGE, closing=SUMS, left=left, first="model.safetensors").take()
    tables = narrowed(tables_of(store, tasks, labels), classes)
    spec = with_subsets(spec, store)
    fitter: Fitter = FITTERS.load(spec.method)(spec)
    for table in tables:
        fitter.check(table.task)
    loaded = open_encoder(encoder, store, spec.seed, progress)
    loaded = cut_encoder(loaded, encoder, spec.cut, store, progress)
    runner = Runner.of(loaded, compute)
    asked = [_ask(store, table, spec, split, progress) for table in tables]
    compute.say(progress)
    unlabelled = select(store, "train", split).rows
    fitted = fit_heads(store, loaded, runner, asked, unlabelled, fitter, progress)
    seen = loaded.seen
    for one in asked:
        used = np.unique(np.concatenate(one.draws))
        seen |= digest_units(one.train.units[place] for place in used)
    seen |= digest_units(store.index.column("unit").take(fitted.beside).to_pylist())
    infos, colours = list[HeadInfo](), 0
    for one, answers in zip(asked, fitted.answers, strict=True):
        drawn = digests(asked if fitter.trains else [one], spec.draws)
        infos.append(describe(one, answers, fitter, drawn, colours))
        colours += len(one.train.task.classes)
    # what predict must cut is what the heads were fitted on, which check_fits found compatible
    info = loaded.info.model_copy(update={"sampling": store.about["sampling"]})
    heads = [[answer.head for answer in answers] for answers in fitted.answers]
    words = PackageInfo(encoder=info, heads=infos)
    write_package(out, words, fitted.encoders, heads, seen, _drawn(asked))
    return open_package(out)


def narrowed(tables: list[LabelTable], classes: Sequence[str]) -> list[LabelTable]:
    """Label tables whose only task has the classes that are named, where any are."""
    if classes and len(tables) > 1:
        raise UsageError("--classes is of one task; give one --task")
    return [table.among(classes) if classes else table for table in tables]


def _ask(
    store: Store,
    table: LabelTable,
    spec: FinetuneSpec,
    split: str | None,
    progress: Progress,
) -> Asked:
    train = labelled(store, "train", table, split)
    check_classes(store, table.task, train, table.truth(table.names))
    asked = drawn_from(train, spec)
    progress.say(f"finetune {table.task.name} reads {train.said}, {asked.said}")
    note_mixed_cases(train, progress)
    for said in asked.without():
        progress.say(said)
    if again := len(asked.draws) - len({tuple(draw.tolist()) for draw in asked.draws}):
        progress.say(
            f"{again} of {len(asked.draws)} draws of {table.task.name} are of the same labels as "
            f"another: they tell nothing of other labels; --draws {len(asked.draws) - again} tells "
            "as much"
        )
    return asked


def drawn_from(train: Examples, spec: FinetuneSpec) -> Asked:
    """The draws that the settings ask for."""
    return Asked(train, [_draw(train, spec, draw) for draw in range(spec.draws)])


def _draw(train: Examples, spec: FinetuneSpec, draw: int) -> NDArray[np.int64]:
    told = train.truth, train.cases
    if spec.cases_per_class:
        return draw_cases(*told, spec.cases_per_class, draw, spec.seed, train.said)
    if spec.whole_cases:
        return draw_whole_cases(*told, spec.whole_cases, draw, spec.seed, train.said)
    if spec.subsets:
        return named_cases(*told, spec.subsets[draw], train.said)
    assert spec.fraction is not None
    return draw_labels(*told, spec.fraction, draw, spec.seed, spec.draw_by)


def _drawn(asked: Sequence[Asked]) -> pa.Table:
    """Which samples or sources each draw saw, in the columns of ``DRAWN``."""
    parts = [
        {"task": one.train.task.name, "draw": draw, one.train.task.level: name}
        for one in asked
        for draw in range(len(one.draws))
        for name in one.of(draw).names
    ]
    return pa.Table.from_pylist(parts, DRAWN)


def digests(asked: Sequence[Asked], draws: int) -> list[str]:
    """A digest of the labels of each draw, of several tasks where they train one encoder."""
    return [
        digest_of(told for one in asked for told in one.of(draw).told()) for draw in range(draws)
    ]


def describe(
    one: Asked, answers: Sequence[Fitted], fitter: Fitter, drawn: list[str], first_colour: int
) -> HeadInfo:
    """What a package says of a task's heads; colours of classes begin at ``first_colour``."""
    task = one.train.task
    reasons = [answer.uncalibrated for answer in answers if answer.uncalibrated]
    reason = reasons[0] if reasons else "fitted inside each draw, all classes as frequent"
    untold = [list(answer.untold) for answer in answers]
    return HeadInfo(
        task=task.name,
        level=task.level,
        exclusive=task.exclusive,
        classes=class_infos(task, first_colour),
        kind=answers[0].head.kind,
        labels=[len(draw) for draw in one.draws],
        drawn=drawn,
        trained=fitter.trains,
        **fitter.spec.model_dump(include={"method", "fraction", *BY_CASES, "draw_by", "seed"}),
        settings=[dict(answer.settings) for answer in answers],
        calibration={"kind": "none" if reasons else "temperature", "reason": reason},
        thresholds=None if task.exclusive else [answer.head.cut.tolist() for answer in answers],
        untold=untold if any(untold) else None,
    )


def check_classes(store: Store, task: Task, train: Examples, anywhere: Truth) -> None:
    """Refuse a single exclusive class, and one that has no label to learn from.

    Args:
        store: of the labels.
        task: asked for.
        train: what is learnt from.
        anywhere: what is true in the whole label table.
    """
    if not task.exclusive:
        return  # a class that never occurs is predicted as rarely as that
    held = train.truth.present
    missing = [name for name, has in zip(task.classes, held, strict=True) if not has]
    if missing:
        raise DataError(
            f"{store.path}: {train.said}, but none labelled {', '.join(missing)}; every class of "
            f"{task.name!r} needs one: {_way_out(anywhere, missing)}"
        )
    if len(task.classes) < 2:
        raise DataError(
            f"{store.path}: {task.classes[0]} is the only class of {task.name!r}; "
            "a model needs two or more"
        )


def _way_out(anywhere: Truth, missing: Sequence[str]) -> str:
    """What to do where classes have no label in the part that is learnt from."""
    classes = anywhere.task.classes
    named = {name for name, has in zip(classes, anywhere.present, strict=True) if has}
    if named & set(missing):
        return "label some of this part, or give a --split that has some"
    others = class_line([name for name in classes if name not in missing])
    return f"label some, or learn the others only: --classes {quote(others)}"
