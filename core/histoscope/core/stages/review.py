"""What a page shows on which a person labels one source by stretches of time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoscope.core.config import build
from histoscope.core.contracts import (
    Course,
    Plan,
    Reader,
    Reviewable,
    Sampling,
    Source,
    Task,
)
from histoscope.core.data.stretches import stretches
from histoscope.core.data.units import sample_keys
from histoscope.core.errors import DataError, UnreadableSource, UsageError
from histoscope.core.files import read_table
from histoscope.core.labelling.course import Doubt, Stretch, least_certain, runs
from histoscope.core.labelling.smoothing import without_short
from histoscope.core.labelling.stills import (
    Stills,
    chosen_places,
    fitting_step,
    take_stills,
)
from histoscope.core.packages.info import PALETTE, ClassInfo, HeadInfo, PackageInfo
from histoscope.core.stages.predict import PREDICTIONS, RESULTS, read_results

WINDOW_S = 30.0  # of a doubt: long enough to be judged, short enough to be watched
DOUBTS = 8
T = TypeVar("T")
Start = Literal["auto", "labels", "answers", "nothing"]


@dataclass(frozen=True)
class Model:
    """A package whose answers are shown.

    Attributes:
        results: folder that ``predict`` wrote.
        digest: of the package.
        head: the one that is asked.
        sampling: how its images were cut.
    """

    results: Path
    digest: str
    head: HeadInfo
    sampling: Sampling

    @property
    def only_ranks(self) -> str:
        """Why its confidence is no share of right answers; empty where it was calibrated."""
        told = self.head.calibration
        if told["kind"] != "none":
            return ""
        return str(told.get("reason") or "its package says no more")


@dataclass(frozen=True)
class Asked:
    """What a review is of.

    Attributes:
        task: what the stretches answer.
        column: of their file that holds the class.
        classes: their classes, as far as they are known before a source is opened.
        model: whose answers are shown, None without one.
        every_s: from still to still, but no less than from sample to sample; None: chosen for each
            source.
        start: what the stretches are at first: ``auto`` takes labels where there are some, else
            the model's answers, else nothing.
        least_s: the model's answers are merged by their scores, so that none lasts less.
    """

    task: str
    column: str
    classes: Sequence[str]
    model: Model | None = None
    every_s: float | None = None
    start: Start = "auto"
    least_s: float = 0.0

    def kinds(self, more: Sequence[str]) -> list[ClassInfo]:
        """All classes with a colour: the model's as it has them, then others in order."""
        known = {} if self.model is None else {one.name: one for one in self.model.head.classes}
        names = list(dict.fromkeys([*self.classes, *more]))
        return [
            ClassInfo(id=place, name=name, colour=known[name].colour)
            if name in known
            else ClassInfo(id=place, name=name, colour=PALETTE[place % len(PALETTE)])
            for place, name in enumerate(names)
        ]


@dataclass(frozen=True)
class Answers:
    """A model's answers of one source.

    Attributes:
        starts_s: from when each sample counts, (samples,).
        best: id of the class of the largest score, -1 where a sample could not be read, (samples,).
        confidence: that score, 0 where there is none, (samples,).
        settled: as ``best``, without stretches that are too short, (samples,).
        doubts: of which stretches it was least certain, the least certain first.
    """

    starts_s: NDArray[np.float64]
    best: NDArray[np.int64]
    confidence: NDArray[np.float64]
    settled: NDArray[np.int64]
    doubts: Sequence[Doubt]


@dataclass(frozen=True)
class Review:
    """What the page of one source shows.

    Attributes:
        name: what files of labels call it.
        source: which one.
        asked: see there.
        classes: all that can be given.
        end_s: when it ends.
        stills: of it.
        begun: the stretches at first, from 0 to the end.
        begun_by: what they are: ``labels``, ``answers`` or ``nothing``.
        answers: of the model, None without one.
    """

    name: str
    source: Source
    asked: Asked
    classes: Sequence[ClassInfo]
    end_s: float
    stills: Stills
    begun: Sequence[Stretch]
    begun_by: Start
    answers: Answers | None


def model_of(info: PackageInfo, digest: str, results: Path, usual: str, task: str | None) -> Model:
    """A package whose answers are shown.

    Args:
        info: what it says of itself.
        digest: of it.
        results: folder that ``predict`` wrote, or will have written.
        usual, task: see :func:`chosen_head`.

    Raises:
        UsageError: no such head.
    """
    head = chosen_head(info.heads, task, usual)
    return Model(results, digest, head, info.encoder.cut(str(results)))


def package_of_results(folder: Path) -> tuple[PackageInfo, str]:
    """The package that ``predict`` used, and its digest.

    Raises:
        DataError: nothing that ``predict`` wrote.
    """
    about = read_results(folder)[0]
    return build(PackageInfo, about["package"], str(folder / "predict.json")), about["model"]


def chosen_head(heads: Sequence[HeadInfo], task: str | None, usual: str) -> HeadInfo:
    """The head that says one class a sample.

    Args:
        heads: of a package.
        task: asked for; None: ``usual`` where there is such a head, else the only one.
        usual: see ``task``.

    Raises:
        UsageError: none, or several.
    """
    able = [one for one in heads if one.exclusive and one.level == "sample"]
    wanted = task or next((one.task for one in able if one.task == usual), None)
    found = [one for one in able if wanted in (None, one.task)]
    if len(found) != 1:
        known = ", ".join(one.task for one in able)
        raise UsageError(
            f"give --task with one of: {known}"
            if known
            else "the package says no single class a sample, which stretches are made of"
        )
    return found[0]


def open_review(
    domain: Reviewable, source: Source, reader: Reader, asked: Asked, beat: Callable[[], None]
) -> Review:
    """Read what a page shows of one source; its stills are read in one pass.

    Args:
        domain: of the source.
        source: which one.
        reader: of it, open.
        asked: what the page asks.
        beat: called at every still.

    Raises:
        UnreadableSource: no sample, results of other samples, no class, or no still.
    """
    plan = reader.plan()
    if not len(plan.rows):
        raise UnreadableSource(plan.reason or "no sample in it")
    course = domain.course(reader, plan.rows)
    task, truth = labels_of(plan, asked.task)
    classes = asked.kinds([*task.classes, *(name for name in truth if name is not None)])
    if not classes:
        raise UnreadableSource("no class is known of it: give --classes A,B,C")
    answers = None
    if asked.model is not None:
        scores = _scores(asked.model, source, plan.rows)
        answers = _answers(asked, scores, domain, plan.rows, course, classes)
    begun_by, begun = _begun(asked, truth, answers, classes, course)
    stills = _stills(domain, reader, plan.rows, course, asked.every_s, beat)
    return Review(
        domain.called(source),
        source,
        asked,
        classes,
        course.end_s,
        stills,
        begun,
        begun_by,
        answers,
    )


def labels_of(plan: Plan, task: str) -> tuple[Task, list[str | None]]:
    """What is known of a plan's rows, None each where nothing is."""
    told = plan.labels.get(task)
    if told is None or not isinstance(told.values, (pa.Array, pa.ChunkedArray)):
        return Task(task, ()), [None] * len(plan.rows)
    return Task(task, told.classes), told.values.to_pylist()


def _scores(model: Model, source: Source, rows: pa.Table) -> NDArray[np.float64]:
    """What the model said of each sample, NaN where it could not be read, (samples, classes)."""
    file = model.results / RESULTS / source.id / "predictions.parquet"
    if not file.is_file():
        raise UnreadableSource(
            f"{model.results} says nothing of it: it failed, or was not predicted"
        )
    try:
        table = read_table(file, *PREDICTIONS)
    except DataError as fault:
        raise UnreadableSource(str(fault)) from None
    if table.column("id").to_pylist() != sample_keys(source, rows):
        raise UnreadableSource(
            f"{model.results} speaks of other samples of it: read it with the same options, or "
            "predict it again"
        )
    names = [one.name for one in model.head.classes]
    columns = [table.column(f"p:{model.head.task}:{name}") for name in names]
    return np.stack([_numbers(one) for one in columns], axis=1)


def _answers(
    asked: Asked,
    scores: NDArray[np.float64],
    domain: Reviewable,
    rows: pa.Table,
    course: Course,
    classes: Sequence[ClassInfo],
) -> Answers:
    assert asked.model is not None
    names, starts_s = [one.name for one in asked.model.head.classes], course.starts_s
    ids = {one.name: one.id for one in classes}
    of_model = np.array([ids[name] for name in names], np.int64)
    known = np.asarray(~np.isnan(scores).any(axis=1))
    filled = np.where(known[:, None], scores, 0.0)
    doubts = least_certain(scores, names, starts_s, course.end_s, window_s=WINDOW_S, count=DOUBTS)
    best = np.where(known, of_model[filled.argmax(axis=1)], -1)
    settled = best.copy()
    if asked.least_s and known.any():
        cuts = stretches(domain, rows.filter(pa.array(known)))[1:-1]
        told = scores[known], starts_s[known], asked.least_s, _usual_step(starts_s), cuts
        settled[known] = of_model[without_short(*told)]
    return Answers(starts_s, best, filled.max(axis=1), settled, doubts)


def _usual_step(starts_s: NDArray[np.float64]) -> float:
    """From sample to sample, s; 1 of a single one."""
    return float(np.median(np.diff(starts_s))) if len(starts_s) > 1 else 1.0


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """NaN where null."""
    return np.array([np.nan if one is None else one for one in column.to_pylist()], np.float64)


def _begun(
    asked: Asked,
    truth: Sequence[str | None],
    answers: Answers | None,
    classes: Sequence[ClassInfo],
    course: Course,
) -> tuple[Start, list[Stretch]]:
    """What the stretches are at first, and where that comes from."""
    start, labelled = asked.start, any(name is not None for name in truth)
    if start in ("auto", "labels") and labelled:
        return "labels", runs(truth, course.starts_s, course.end_s)
    if start in ("auto", "answers") and answers is not None:
        named = [classes[one].name if one >= 0 else None for one in answers.settled.tolist()]
        return "answers", runs(named, course.starts_s, course.end_s)
    return "nothing", [Stretch(0.0, course.end_s, None)]


def _stills(
    domain: Reviewable,
    reader: Reader,
    rows: pa.Table,
    course: Course,
    every_s: float | None,
    beat: Callable[[], None],
) -> Stills:
    starts = course.starts_s
    usual_s = _usual_step(starts)
    every_s = max(every_s, usual_s) if every_s else fitting_step(course.end_s, usual_s)
    places = chosen_places(starts, every_s)
    answers = _heard(domain.stills(reader, rows, places.tolist()), beat)
    stills = take_stills(answers, starts[places].tolist(), every_s)
    if not stills.shown:
        raise UnreadableSource(f"none of its {len(places)} stills can be read")
    return stills


def _heard(answers: Iterable[T], beat: Callable[[], None]) -> Iterator[T]:
    for answer in answers:
        beat()
        yield answer


def told(review: Review) -> Mapping[str, Any]:
    """What the record of a page says of it."""
    stills, answers = review.stills, review.answers
    return {
        "name": review.name,
        "task": review.asked.task,
        "classes": [one.name for one in review.classes],
        "length_s": review.end_s,
        "every_s": stills.every_s,
        "least_s": review.asked.least_s,
        "stills": len(stills.shown),
        "stills_missing": len(stills.missing),
        "stills_lowered": stills.lowered,
        "begun_by": review.begun_by,
        "stretches": len(review.begun),
        "least_certain": [
            {
                "start_s": one.start_s,
                "end_s": one.end_s,
                "confidence": one.confidence,
                "between": list(one.between),
            }
            for one in (answers.doubts if answers else ())
        ],
    }
