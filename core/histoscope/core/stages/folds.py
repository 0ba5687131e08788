"""A procedure scored on few cases: each is predicted by heads that were fitted without its fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histoscope.core.data.examples import Examples, labelled, note_mixed_cases, tables_of, unit_name
from histoscope.core.data.labels import LabelTable
from histoscope.core.data.selection import EVERY, select
from histoscope.core.data.store import Store
from histoscope.core.errors import DataError, UsageError
from histoscope.core.evaluation.cautions import cautions_of
from histoscope.core.evaluation.jackknife import jackknife_ends
from histoscope.core.files import digest_of
from histoscope.core.heads.contract import Bags
from histoscope.core.inference.features import features_of
from histoscope.core.inference.runner import Runner
from histoscope.core.learning import FITTERS
from histoscope.core.learning.contract import Fitter
from histoscope.core.learning.fit import Asked, FittedHeads, fit_heads
from histoscope.core.learning.folds import dealt
from histoscope.core.learning.spec import FinetuneSpec
from histoscope.core.learning.thresholds import untold_cautions
from histoscope.core.packages.info import HeadInfo, PackageInfo
from histoscope.core.progress import Progress
from histoscope.core.randomness import generator
from histoscope.core.runtime.device import AUTO, Compute
from histoscope.core.stages.cuts import cut_encoder
from histoscope.core.stages.encoders import open_encoder
from histoscope.core.stages.evaluate import METRICS, measured_of, seen_before, write_evaluation
from histoscope.core.stages.finetune import (
    check_classes,
    describe,
    digests,
    drawn_from,
    narrowed,
)
from histoscope.core.work.folder import OutFolder

APPROXIMATE = (
    "intervals leave one case out (jackknife) and are approximate: folds share training cases"
)
POOLED = (
    "AUC and average precision rank the scores of several models, one a fold, beside each other"
)
COPIES = "copies of a case under another name are not looked for: they may stand in several folds"


@dataclass
class _Pooled:
    """Of one task: all examples, and what its folds have said of them so far.

    Attributes:
        table: of its labels.
        test: all examples.
        fold: of each example.
        scores, thresholds: of each draw, (examples, classes).
        labels: that each draw saw, the most of any fold.
        told: digests of each fold's draws.
        head: of the first fold, as a package would describe it.
        untold: of each fold's draws, see :class:`Fitted`.
    """

    table: LabelTable
    test: Examples
    fold: NDArray[np.int64]
    scores: list[NDArray[np.float32]]
    thresholds: list[NDArray[np.float32]]
    labels: NDArray[np.int64]
    told: list[list[str]]
    head: HeadInfo | None = None
    untold: list[Sequence[str]] = field(default_factory=list)

    @classmethod
    def of(
        cls, table: LabelTable, test: Examples, fold_of: Mapping[str, int], draws: int
    ) -> _Pooled:
        """Before the first fold."""
        shape = (draws, len(test), len(test.task.classes))
        scores, thresholds = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        fold = np.array([fold_of[unit] for unit in test.units])
        return cls(table, test, fold, [*scores], [*thresholds], np.zeros(draws, np.int64), [])

    def asked(self, store: Store, spec: FinetuneSpec, fold: int) -> Asked:
        """What the heads of a fold learn from: all but its own examples."""
        train = self.test.take(np.flatnonzero(self.fold != fold))
        train = replace(train, said=f"{train.said}, without fold {fold + 1}")
        self._check_dealt(fold)
        check_classes(store, self.table.task, train, self.test.truth)
        return drawn_from(train, spec)

    def _check_dealt(self, fold: int) -> None:
        """Refuse a class whose cases are all in one fold, without which no head learns it."""
        holds, task = self.test.truth.holds, self.test.task
        alone = self.test.truth.present & ~holds[self.fold != fold].any(axis=0)
        if not (task.exclusive and alone.any()):
            return
        place = int(alone.argmax())
        units = {self.test.units[int(at)] for at in np.flatnonzero(holds[:, place])}
        raise DataError(
            f"--folds: {task.classes[place]} of {task.name!r} is in {len(units)} "
            f"{unit_name(self.test.units)}, all in one fold, so that heads of it learn none; leave "
            "it out with --classes, or label it in more of them"
        )

    def held_out(self, fold: int) -> NDArray[np.int64]:
        """Places of a fold's own examples."""
        return np.flatnonzero(self.fold == fold)

    def measured(self) -> dict[str, Any]:
        """What ``metrics.json`` says of it."""
        assert self.head is not None
        drawn = [digest_of(told) for told in zip(*self.told, strict=True)]
        head = self.head.model_copy(update={"labels": self.labels.tolist(), "drawn": drawn})
        return measured_of(head, self.test, self.scores, self.thresholds, jackknife_ends)


def cross_validate(
    store: Store,
    encoder: str,
    spec: FinetuneSpec,
    folds: int,
    out: Path,
    *,
    compute: Compute = AUTO,
    tasks: tuple[str, ...] = (),
    labels: Path | None = None,
    classes: Sequence[str] = (),
    split: str | None = None,
    allow_seen: bool = False,
    progress: Progress,
) -> tuple[dict[str, Any], PackageInfo]:
    """Score a way of learning on all labelled cases, a fold of them at a time; no package is made.

    Cases stay whole; out-of-fold predictions of each draw are pooled, then scored.

    Args:
        store: whose labelled samples are read, whatever their split.
        encoder, spec, compute, tasks, labels, classes, progress: see :func:`finetune`.
        folds: how many parts the cases are dealt into.
        out: folder for the results, as of ``evaluate``.
        split: ``FILE:PART`` or ``NAME:PART``: only these samples.
        allow_seen: score also cases that the encoder was trained on, and say so.

    Returns:
        The body of ``metrics.json``, and what a package of the first fold would say of itself.

    Raises:
        UsageError: ``out`` holds something else, or fewer than two folds.
        DataError: too few cases, cases unknown, or a class that is in one fold only.
    """
    if spec.subsets:
        raise UsageError("--subsets: names cases, of which folds hold some out; leave one out")
    tables = narrowed(tables_of(store, tasks, labels), classes)
    fitter: Fitter = FITTERS.load(spec.method)(spec)
    for table in tables:
        fitter.check(table.task)
    loaded = open_encoder(encoder, store, spec.seed, progress)
    loaded = cut_encoder(loaded, encoder, spec.cut, store, progress)
    tests = [labelled(store, EVERY, table, split) for table in tables]
    fold_of = deal(tests, folds, spec.seed)
    seen = [seen_before(test, loaded.seen, encoder, allow_seen, "encoder") for test in tests]
    pooled = [
        _Pooled.of(table, test, fold_of, spec.draws)
        for table, test in zip(tables, tests, strict=True)
    ]
    parts = [[one.asked(store, spec, fold) for one in pooled] for fold in range(folds)]
    model = digest_of([loaded.digest, spec.model_dump_json(), *map(str, fold_of.items())])
    OutFolder(out, METRICS, closing="metrics.json").check({"model": model})
    compute.say(progress)
    runner = Runner.of(loaded, compute)
    for test in tests:
        progress.say(
            f"finetune {test.task.name} reads {test.said}, {len(test)} with labels of "
            f"{len(set(test.units))} {unit_name(test.units)} in {folds} folds; no package is made "
            "of them"
        )
        note_mixed_cases(test, progress)
    rows = select(store, EVERY, split).rows
    units = store.index.column("unit").take(rows).to_pylist()
    for fold, asked in enumerate(parts):
        progress.say(f"fold {fold + 1} of {folds}: {asked[0].said}")
        outside = rows[[fold_of.get(unit) != fold for unit in units]]
        fitted = fit_heads(store, loaded, runner, asked, outside, fitter, progress)
        _say_of(store, runner, asked, fitted, pooled, fold, rows, fitter, progress)
    body: dict[str, Any] = {"model": model, **runner.where, "tasks": {}}
    for one, told in zip(pooled, seen, strict=True):
        cautions = [*told, APPROXIMATE, POOLED, COPIES, *cautions_of(one.test, spec.draws)]
        cautions += untold_cautions(one.untold)
        body["tasks"][one.test.task.name] = {
            **one.measured(),
            "folds": folds,
            "cautions": cautions,
        }
    write_evaluation(out, body, [(one.test, one.scores) for one in pooled])
    info = loaded.info.model_copy(update={"sampling": store.about["sampling"]})
    return body, PackageInfo(encoder=info, heads=[one.head for one in pooled if one.head])


def _say_of(
    store: Store,
    runner: Runner,
    asked: Sequence[Asked],
    fitted: FittedHeads,
    pooled: Sequence[_Pooled],
    fold: int,
    among: NDArray[np.int64],
    fitter: Fitter,
    progress: Progress,
) -> None:
    """Add what a fold's heads say of its own examples; they may read rows ``among`` others."""
    places = [one.held_out(fold) for one in pooled]
    tests = [one.test.take(its) for one, its in zip(pooled, places, strict=True)]
    read = [test.context(store, among, fitter.ordered) for test in tests]
    rows = np.unique(np.concatenate([seen.rows for seen in read]))
    draws = range(len(asked[0].draws))
    runners = [runner.like(encoder) for encoder in fitted.encoders] if fitter.trains else [runner]
    features = [features_of(its, store, rows, progress) for its in runners]
    first_colour = 0
    for number, (one, seen, at) in enumerate(zip(pooled, read, places, strict=True)):
        answers, its = fitted.answers[number], asked[number]
        for draw in draws if len(at) else ():
            head, shared = answers[draw].head, features[draw if fitter.trains else 0]
            bags = Bags(shared[np.searchsorted(rows, seen.rows)], seen.starts)
            one.scores[draw][at] = head.probabilities(bags)[seen.places]
            one.thresholds[draw][at] = head.cut
        one.untold += [answer.untold for answer in answers]
        told = digests(asked if fitter.trains else [its], len(draws))
        one.told.append(told)
        one.labels = np.maximum(one.labels, [len(drawn) for drawn in its.draws])
        one.head = one.head or describe(its, answers, fitter, told, first_colour)
        first_colour += len(one.test.task.classes)


def deal(tests: Sequence[Examples], folds: int, seed: int) -> dict[str, int]:
    """The fold of each case, in a seeded order, so that every class is in as many as it can be.

    Raises:
        UsageError: fewer than two folds.
        DataError: samples of which no case or source is known, or fewer cases than folds.
    """
    if folds < 2:
        raise UsageError("--folds needs two or more")
    holds = dict[str, list[bool]]()
    classes = sum(len(test.task.classes) for test in tests)
    first = 0
    for test in tests:
        for unit, its in zip(test.units, test.truth.holds, strict=True):
            held = holds.setdefault(unit, [False] * classes)
            for place in np.flatnonzero(its):
                held[first + int(place)] = True
        first += len(test.task.classes)
    if any(unit.startswith("sample:") for unit in holds):
        raise DataError(
            "--folds keeps cases apart, and the cases of some samples are unknown; prepare with "
            "--cases or --case-regex"
        )
    if len(holds) < folds:
        many = unit_name(list(holds))
        raise DataError(f"--folds {folds}: the labels are of {len(holds)} {many} only")
    order = generator(seed, "folds").permutation(sorted(holds)).tolist()
    return dealt(order, np.array([holds[unit] for unit in order]), folds)
