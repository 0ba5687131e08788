"""Choose a recipe of pretraining on one's own data: short runs, judged by the valid part.

Successive halving (Jamieson and Talwalkar 2016): every recipe learns for a few steps, the better
half anew for twice as many, and so on. Each encoder is scored by the few-label procedure on cases
of ``valid``; ``test`` is never read. Encoders that are taken as they are stand beside them.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from histoscope.core import __version__
from histoscope.core.config import dump
from histoscope.core.contracts import Domain
from histoscope.core.data.selection import select
from histoscope.core.data.store import Store
from histoscope.core.errors import DataError, Diverged, UsageError
from histoscope.core.evaluation.comparison import Compared
from histoscope.core.files import (
    content_of,
    digest_of_bytes,
    holds_anything,
    read_json,
    write_csv,
    write_json,
    write_text,
)
from histoscope.core.learning.spec import FinetuneSpec
from histoscope.core.packages.package import SUMS, open_package
from histoscope.core.progress import Progress
from histoscope.core.runtime.device import AUTO, Compute
from histoscope.core.stages.compare import compare
from histoscope.core.stages.evaluate import evaluate
from histoscope.core.stages.finetune import finetune
from histoscope.core.stages.pretrain import pretrain
from histoscope.core.training.spec import PretrainSpec
from histoscope.core.work.folder import differences
from histoscope.core.work.outcome import DONE

TUNE = ("histoscope.tune", 1)
ARM = ("histoscope.arm", 1)
ARMS, RECIPE, TABLE = "arms", "recipe.yaml", "arms.csv"
CHIEF = ("balanced_accuracy", "mean_average_precision")

Ways = Mapping[str, "PretrainSpec | str"]  # by name: a recipe, or an encoder's word


@dataclass(frozen=True)
class Asked:
    """What each encoder is scored by.

    Attributes:
        task: label table of the store; None: the only one.
        learn: how heads are learnt from few labels.
        split: a file, or the name of a published split, of which ``train`` and ``valid`` are read;
            None: the store's own.
        compute: where networks run that do not learn.
    """

    task: str | None
    learn: FinetuneSpec
    split: str | None = None
    compute: Compute = AUTO

    def part(self, name: str) -> str:
        """What ``--split`` would be told."""
        return f"{self.split}:{name}" if self.split else name


@dataclass(frozen=True)
class Tried:
    """One encoder's figures on the valid part.

    Attributes:
        name: of the arm.
        steps: that it has learnt for, 0 of one that was there.
        score: the chief metric, the mean of draws; NaN where training diverged.
        low, high: its 95 % interval, NaN where unknown.
        metric: its name.
        folder: of what was made.
    """

    name: str
    steps: int
    score: float
    low: float
    high: float
    metric: str
    folder: Path


@dataclass(frozen=True)
class Tuned:
    """What was found.

    Attributes:
        rounds: of each round the recipes that were still in it, the best first.
        others: encoders that are taken as they are, the best first.
        best: the recipe that won.
        gap: its difference to the best of the others; None where there is none.
    """

    rounds: Sequence[Sequence[Tried]]
    others: Sequence[Tried]
    best: Tried
    gap: Compared | None

    @property
    def chosen(self) -> Tried:
        """What is to be taken: the recipe that won, or an encoder that is as good without it."""
        first = self.others[0] if self.others else self.best
        return first if first.score >= self.best.score else self.best


def tune(
    store: Store,
    domain: Domain,
    ways: Ways,
    steps: int,
    rounds: int,
    asked: Asked,
    out: Path,
    *,
    progress: Progress,
) -> Tuned:
    """Try all ways, halve the field, and write ``recipe.yaml`` and ``arms.csv``.

    What is done is not done again: the same call goes on where it was stopped.

    Args:
        store: whose ``train`` and ``valid`` parts are read.
        domain: of the store.
        ways: by name.
        steps: of the first round.
        rounds: at most; it ends where one recipe is left.
        asked: what each is scored by.
        out: folder of all that is made.
        progress: who is told.

    Raises:
        UsageError: ``out`` holds something else, or was made with other settings; a recipe that
            cannot be learnt here.
        DataError: no labels in one of the parts.
        Interrupted: what is finished stays.
    """
    _claim(out, _parameters(store, ways, steps, rounds, asked))
    others = [
        _scored(store, name, way, 0, out / ARMS / name, asked, progress)
        for name, way in ways.items()
        if isinstance(way, str)
    ]
    field = [name for name, way in ways.items() if not isinstance(way, str)]
    done = list[list[Tried]]()
    for number in range(rounds):
        told = f"round {number + 1}: {_recipes(len(field))} of {steps} steps"
        progress.say(f"{told}: {', '.join(field)}")
        tried = [_learnt(store, domain, name, ways, steps, asked, out, progress) for name in field]
        done.append(_ranked(tried))
        if len(field) == 1:
            break
        field = [one.name for one in done[-1][: math.ceil(len(field) / 2)]]
        steps *= 2
    found = _found(done, _ranked(others))
    _write(out, found, ways)
    return found


def with_steps(way: PretrainSpec, steps: int, **more: Any) -> PretrainSpec:
    """A recipe of so many steps, and other settings of its training."""
    training = way.training.model_copy(update={"steps": steps, **more})
    return way.model_copy(update={"training": training})


def _claim(out: Path, parameters: Mapping[str, Any]) -> None:
    """Take the folder, or go on in it with the same parameters."""
    file = out / "tune.json"
    if holds_anything(out) and not file.is_file():
        raise UsageError(f"{out}: not empty, and holds no {file.name}; give another --out")
    if any((out / ARMS).glob(f"*/{DONE}")):
        before = read_json(file, *TUNE)
        if place := next(iter(differences(before, parameters)), None):
            raise UsageError(f"{out}: was made with other settings ({place}); give another --out")
    write_json(file, *TUNE, {**parameters, "program": __version__})


def _parameters(store: Store, ways: Ways, steps: int, rounds: int, asked: Asked) -> dict[str, Any]:
    """What decides the figures."""
    of_split = ""
    if asked.split and Path(asked.split).is_file():
        of_split = digest_of_bytes([content_of(Path(asked.split))])
    return {
        "store": digest_of_bytes([content_of(store.path / "index.parquet")]),
        "arms": {
            name: way if isinstance(way, str) else way.model_dump(mode="json")
            for name, way in ways.items()
        },
        "steps": steps,
        "rounds": rounds,
        "task": asked.task or store.labels().task.name,
        "learn": asked.learn.model_dump(mode="json"),
        "split": of_split or asked.split or "",
    }


def _learnt(
    store: Store,
    domain: Domain,
    name: str,
    ways: Ways,
    steps: int,
    asked: Asked,
    out: Path,
    progress: Progress,
) -> Tried:
    """A recipe of so many steps, learnt and scored unless that is done."""
    way, place = ways[name], out / ARMS / f"{name}-{steps}"
    assert not isinstance(way, str)
    run = place / "run"
    if not (place / DONE).is_file() and not (run / "encoder.json").is_file():
        spec = with_steps(way, steps)
        try:
            pretrain(store, domain, spec, run, split=asked.part("train"), progress=progress)
        except Diverged as fault:
            progress.say(f"arm {name}: {fault}")
            nan = float("nan")
            return _kept(Tried(name, steps, nan, nan, nan, "", place))
        shutil.rmtree(run / "checkpoints", ignore_errors=True)  # of a run that is whole
    return _scored(store, name, str(run), steps, place, asked, progress)


def _scored(
    store: Store,
    name: str,
    encoder: str,
    steps: int,
    place: Path,
    asked: Asked,
    progress: Progress,
) -> Tried:
    """An encoder's figures on the valid part."""
    if (place / DONE).is_file():
        return _read(place)
    package, valid = place / "package", place / "valid"
    tasks = (asked.task,) if asked.task else ()
    if not (package / SUMS).is_file():
        finetune(
            store,
            encoder,
            asked.learn,
            package,
            compute=asked.compute,
            tasks=tasks,
            split=asked.part("train"),
            progress=progress,
        )
    body = evaluate(
        open_package(package),
        store,
        valid,
        compute=asked.compute,
        split=asked.part("valid"),
        progress=progress,
    )
    (measured,) = body["tasks"].values()
    metric = next(one for one in CHIEF if one in measured)
    value, interval = measured[metric]["value"], measured[metric]["interval"]
    low, high = (float("nan") if one is None else one for one in interval)
    tried = Tried(name, steps, float("nan") if value is None else value, low, high, metric, place)
    progress.say(f"{name}, {steps} steps: {metric.replace('_', ' ')} {tried.score:.3f} on valid")
    return _kept(tried)


def _kept(tried: Tried) -> Tried:
    """Close the folder of an arm."""
    numbers = {one: getattr(tried, one) for one in ("score", "low", "high")}
    body = {
        "name": tried.name,
        "steps": tried.steps,
        "metric": tried.metric,
        **{one: known(value) for one, value in numbers.items()},
    }
    write_json(tried.folder / DONE, *ARM, body)
    return tried


def known(value: float) -> float | None:
    """As files have it, which know no NaN."""
    return None if math.isnan(value) else value


def _read(place: Path) -> Tried:
    body = read_json(place / DONE, *ARM)
    score, low, high = (
        float("nan") if body[one] is None else body[one] for one in ("score", "low", "high")
    )
    return Tried(body["name"], body["steps"], score, low, high, body["metric"], place)


def _ranked(tried: Sequence[Tried]) -> list[Tried]:
    """The best first; what diverged last; of two alike the one named first."""
    return sorted(tried, key=lambda one: math.inf if math.isnan(one.score) else -one.score)


def _found(rounds: list[list[Tried]], others: list[Tried]) -> Tuned:
    best = rounds[-1][0]
    if math.isnan(best.score):
        raise DataError("tune: no recipe of the last round could be learnt; try others")
    gap = None
    if others:
        (gap,) = compare([(best.folder / "valid", others[0].folder / "valid")])
    return Tuned(rounds, others, best, gap)


def _write(out: Path, found: Tuned, ways: Ways) -> None:
    """The table of all arms, and the recipe that won."""
    rows = [
        {
            "round": number,
            "arm": one.name,
            "steps": one.steps,
            "metric": one.metric,
            "valid": known(one.score),
            "low": known(one.low),
            "high": known(one.high),
        }
        for number, tried in enumerate([found.others, *found.rounds])
        for one in tried
    ]
    write_csv(out / TABLE, pa.Table.from_pylist(rows))
    recipe = ways[found.best.name]
    assert not isinstance(recipe, str)
    whole = with_steps(recipe, found.best.steps)
    text = "".join(f"# {line}\n" for line in said(found, ways))
    write_text(out / RECIPE, f"{text}{dump(whole)}")


def said(found: Tuned, ways: Ways) -> list[str]:
    """What was found, in words.

    Args:
        found: by :func:`tune`.
        ways: by name, as it had them.
    """
    best, lines = found.best, list[str]()
    metric = best.metric.replace("_", " ")
    lines.append(
        f"{best.name} won among {_recipes(len(found.rounds[0]))}: {metric} {best.score:.3f} "
        f"({_between(best)}) on valid after {best.steps} steps"
    )
    if found.gap is not None:
        other, gap = found.others[0], found.gap.gap
        lines.append(
            f"over {other.name}, the best of what needs no pretraining ({other.score:.3f}): "
            f"{gap.mean:+.3f} ({gap.ends}), {found.gap.verdict}"
        )
    if found.chosen is not best:
        lines.append(f"pretraining gained nothing here: take --encoder {ways[found.chosen.name]}")
    elif found.gap is not None and found.gap.verdict != "better":
        lines.append("whether it gains on other patients is not known from these cases")
    return lines


def _recipes(count: int) -> str:
    return f"{count} recipe{'s' * (count > 1)}"


def _between(one: Tried) -> str:
    if math.isnan(one.low):
        return "interval unknown"
    return f"95 % interval {one.low:.3f} to {one.high:.3f}"


def check_parts(store: Store, asked: Asked) -> None:
    """See that there are samples to learn from, others to judge by, and labels of the task.

    Raises:
        DataError: one of the parts is empty, or there is no such task.
    """
    store.labels(asked.task)
    for name in ("train", "valid"):
        if asked.split is None and name not in store.index.column("split").to_pylist():
            raise DataError(f"{store.path}: the store has no split; give --split FILE")
        select(store, name, asked.part(name))
