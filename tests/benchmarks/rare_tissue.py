"""Slides with a little of a rare tissue: what heads of slides find, from few labels of slides.

    python -m tests.benchmarks.rare_tissue OUT [--steps 300] [--draws 10] [--part test]
        [--methods "probe;topk;attention"] [--phantoms "0"]

On the painted slides of ``tests/phantoms/rare_tissue.py``: an encoder is learnt from the training
slides without labels, heads from 10 and 20 cases of either class, and scored on other cases, by the
commands that are printed; settings were chosen on ``--part valid``. First the area under the ROC
curve (AUC) of slides, with the labels and, in the first phantom, with labels that were dealt anew
among the training cases (as many times as there are draws); how well it ranks the tiles of slides
that hold the rare tissue, beside what was painted; then what attention gains. Each phantom (a seed)
has slides, an encoder and heads of its own in ``OUT/SEED``, and figures are the mean of theirs.
Intervals are over the cases of all and over draws. What is finished is not made again.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from histoscope.apps.cli import run
from histoscope.core.contracts import Task
from histoscope.core.data.examples import Examples, labelled
from histoscope.core.data.store import Store
from histoscope.core.evaluation.intervals import (
    Difference,
    Metric,
    bootstrap,
    difference,
    less,
)
from histoscope.core.evaluation.measure import overall, rarest
from histoscope.core.evaluation.predictions import read_predictions
from histoscope.core.evaluation.units import Units
from histoscope.core.files import read_json
from histoscope.core.inference.features import features_of
from histoscope.core.inference.runner import Runner
from histoscope.core.packages.package import open_package
from histoscope.core.progress import Silent
from histoscope.core.randomness import generator
from histoscope.core.runtime.device import AUTO
from histoscope.core.stages.evaluate import METRICS
from tests.phantoms.rare_tissue import LABELS, TILE_PX, holds_rare, write_phantom

CASES = {"train": range(80), "valid": range(80, 120), "test": range(120, 180)}
SIZES = (10, 20)  # cases of either class
TASK, DEALT = "rare", "dealt"  # the labels, and labels that mean nothing
METHODS = ("probe", "topk", "attention")
CUT = ("--domain", "pathology", "--size-px", TILE_PX, "--tile-mpp", 1)


@dataclass(frozen=True)
class Scored:
    """A mean over draws, and the ends of its interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Study:
    """One phantom, its store and an encoder.

    Attributes:
        out: folder of all that is made.
        encoder: as ``finetune`` takes it.
        part: that is scored.
        draws: of labels.
    """

    out: Path
    encoder: str
    part: str = "test"
    draws: int = 10

    @property
    def table(self) -> Path:
        """Slides with case, split and label."""
        return self.out / "phantom" / "slides.csv"

    @property
    def store(self) -> Path:
        """Their tiles."""
        return self.out / "store"

    def prepare(self, paint: Callable[[Path], object]) -> None:
        """Paint the slides, cut and label them."""
        if not self.table.is_file():
            paint(self.table.parent)
        if not (self.store / "labels" / f"{TASK}.parquet").is_file():
            slides = self.table.parent / "slides"
            call("prepare", slides, *CUT, "--cases", self.table, "--out", self.store)
            named = ("--task", TASK, "--classes", ",".join(LABELS))
            call("labels", self.store, self.table, *named)

    def pretrain(self, steps: int) -> None:
        """Learn the encoder from the training slides."""
        if not (Path(self.encoder) / "encoder.json").is_file():
            how = ("--preset", "simclr_pathology", "--steps", steps, "--out", self.encoder)
            call("pretrain", self.store, "--split", f"{self.table}:train", *how)

    def evaluation(self, method: str, size: int) -> Path:
        """What a method reaches from so many cases of either class."""
        return self._evaluation(f"{method}-{size}", method, size, "--task", TASK)

    def dealt(self, method: str, size: int) -> list[Path]:
        """The same of labels that mean nothing, each time others and one draw of them."""
        once, found = replace(self, draws=1), []
        for number in range(self.draws):
            file = self.out / DEALT / f"{number}.parquet"
            if not file.is_file():
                file.parent.mkdir(exist_ok=True)
                deal(self.table, file.with_suffix(".csv"), number)
                named = ("--task", DEALT, "--classes", ",".join(LABELS), "--out", file)
                call("labels", self.store, file.with_suffix(".csv"), *named)
            name, told = f"{DEALT}/{method}-{size}-{number}", ("--labels", file, "--seed", number)
            found.append(once._evaluation(name, method, size, *told))
        return found

    def _evaluation(self, name: str, method: str, size: int, *more: object) -> Path:
        package, scored = self.out / name / "package", self.out / name / self.part
        if not (package / "SHA256SUMS").is_file():
            few = ("--method", method, "--cases-per-class", size, "--draws", self.draws, *more)
            told = (*few, "--split", f"{self.table}:train", "--out", package)
            call("finetune", self.store, "--encoder", self.encoder, *told)
        if not (scored / "report.html").is_file():
            true = ("--labels", self.store / "labels" / f"{TASK}.parquet")
            told = (*true, "--split", f"{self.table}:{self.part}", "--out", scored)
            call("evaluate", package, self.store, *told)
        return scored

    def found(self, evaluation: Path) -> tuple[NDArray[np.float64], Sequence[str]]:
        """AUC of attention over the tiles of each slide that holds it, (draws, slides); cases."""
        package, store = open_package(evaluation.parent / "package"), Store(self.store)
        split = f"{self.table}:{self.part}"
        asked = labelled(store, self.part, store.labels(TASK), split)
        asked = asked.take(np.flatnonzero(asked.truth.values == LABELS.index("with")))
        features = features_of(Runner.of(package.encoder(), AUTO), store, asked.rows, Silent())
        held, ranks = self.painted(store, asked), []
        for draw in range(self.draws):
            head = package.head(0, draw)
            ranks.append(
                [
                    roc_auc_score(held[start:end], head.attention(features[start:end]))
                    for start, end in pairwise(asked.starts)
                ]
            )
        return np.array(ranks), list(asked.units)

    def painted(self, store: Store, asked: Examples) -> NDArray[np.bool_]:
        """Which tiles of some slides hold the rare tissue, (tiles,)."""
        rows = store.index.take(asked.rows).to_pylist()
        paths = {row["source"]: store.manifest[row["source"]]["path"] for row in rows}
        truths = {
            source: holds_rare(
                np.asarray(cv2.imread(str(self._truth_of(path)), cv2.IMREAD_GRAYSCALE), np.uint8)
            )
            for source, path in paths.items()
        }
        places = ((row["source"], row["y_level0_px"], row["x_level0_px"]) for row in rows)
        return np.array([truths[of][y // TILE_PX, x // TILE_PX] for of, y, x in places])

    def _truth_of(self, path: str) -> Path:
        return self.table.parent / "truth" / f"{Path(path).stem}.png"


def call(*words: object) -> None:
    """Run one command line in this process, and print it."""
    told = [str(word) for word in words]
    click.echo(f"histoscope {' '.join(told)}", err=True)
    if code := run(told):
        raise SystemExit(code)


def deal(table: Path, out: Path, number: int) -> None:
    """Write the labels of the training cases in another order: each case has those of another."""
    with table.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    labels = {row["case"]: row["label"] for row in rows}
    others = generator(0, "rare/dealt", number).permutation(np.array(list(labels.values())))
    anew = dict(zip(labels, others.tolist(), strict=True))
    with out.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(("slide", "label"))
        lines.writerows((row["slide"], anew[row["case"]]) for row in rows)


@dataclass(frozen=True)
class Rank:
    """The AUC of slides of one phantom, by draw and weights of its cases.

    Attributes:
        of: the metric.
        draws, units: how many.
        rarest: cases that hold the rarer class.
    """

    of: Metric
    draws: int
    units: int
    rarest: int

    @classmethod
    def read(cls, evaluations: Sequence[Path]) -> Rank:
        """Over all draws of one evaluation, or over those of several."""
        parts = []
        for folder in evaluations:
            ((name, told),) = read_json(folder / "metrics.json", *METRICS)["tasks"].items()
            task = Task(name, tuple(told["classes"]), level="source")
            parts.append(read_predictions(folder, task, told["draws"]))
        first, scores = parts[0], [one for part in parts for one in part.scores]
        metric = overall(first.truth, scores, first.units)["auc"]
        few = rarest(first.truth, first.units, "auc")
        return cls(metric, len(scores), len(first.units), few)

    def less(self, other: Rank) -> Rank:
        """The paired difference."""
        return replace(self, of=less(self.of, other.of))


def together(ranks: Sequence[Rank]) -> Rank:
    """The mean over phantoms, of the weights of the cases of all."""
    ends = np.cumsum([0, *(one.units for one in ranks)])

    def mean(draw: int, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        own = [weights[:, start:end] for start, end in pairwise(ends)]
        each = [one.of(draw, part) for one, part in zip(ranks, own, strict=True)]
        return np.asarray(np.mean(each, axis=0))

    return Rank(mean, ranks[0].draws, int(ends[-1]), sum(one.rarest for one in ranks))


def auc_of(ranks: Sequence[Rank]) -> Scored:
    """The mean AUC of slides of some phantoms."""
    found = together(ranks)
    whole = [float(found.of(draw, np.ones((1, found.units)))[0]) for draw in range(found.draws)]
    ends = bootstrap(found.of, found.units, found.draws, found.rarest)
    return Scored(float(np.mean(whole)), *ends)


def over_cases(values: NDArray[np.float64], units: Units) -> Scored:
    """The mean of one number a draw and slide, (draws, slides)."""
    sums, counts = units.sums(values.T), units.sums(np.ones(values.shape[1]))

    def mean(draw: int, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((weights @ sums[:, draw]) / (weights @ counts))

    ends = bootstrap(mean, len(units), len(values), len(units))
    return Scored(float(values.mean()), *ends)


def tiles_of(studies: Sequence[Study], method: str, size: int) -> Scored:
    """AUC of attention over the tiles of slides that hold the rare tissue, painted or not."""
    parts = [one.found(one.evaluation(method, size)) for one in studies]
    units = [f"{place}/{name}" for place, (_, names) in enumerate(parts) for name in names]
    return over_cases(np.concatenate([ranks for ranks, _ in parts], axis=1), Units.of(units))


def gain(ones: Sequence[Rank], others: Sequence[Rank]) -> Difference:
    """Of the mean AUC: the ones less the others."""
    gaps = [one.less(other) for one, other in zip(ones, others, strict=True)]
    whole = together(gaps)
    return difference(whole.of, whole.units, whole.draws, whole.rarest)


@click.command(help=__doc__)
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--steps", default=300)
@click.option("--draws", default=10)
@click.option("--methods", default=";".join(METHODS), help="between semicolons")
@click.option("--part", default="test", type=click.Choice(list(CASES)[1:]))
@click.option("--phantoms", default="0", help="seeds between semicolons")
def main(out: Path, steps: int, draws: int, methods: str, part: str, phantoms: str) -> None:
    """Make what is missing and print the tables."""
    studies = []
    for seed in map(int, phantoms.split(";")):
        folder = out / str(seed)
        study = Study(folder, str(folder / "run"), part, draws)
        study.prepare(partial(write_phantom, cases=CASES, seed=seed))
        study.pretrain(steps)
        studies.append(study)
    asked = [(name, size) for name in methods.split(";") for size in SIZES]
    made = {key: [Rank.read([one.evaluation(*key)]) for one in studies] for key in asked}
    click.echo("| method | cases of either class | AUC | labels dealt anew | tiles |")
    click.echo("| --- " * 5 + "|")
    for name, size in asked:
        dealt = auc_of([Rank.read(studies[0].dealt(name, size))])
        tiles = "" if name == "probe" else tiles_of(studies, name, size)
        click.echo(f"| {name} | {size} | {auc_of(made[name, size])} | {dealt} | {tiles} |")
    click.echo()
    click.echo("| difference | cases of either class | AUC | p | phantom by phantom |")
    click.echo("| --- " * 5 + "|")
    for name, size in asked:
        if name == "attention" or ("attention", size) not in made:
            continue
        ours, theirs = made["attention", size], made[name, size]
        gap = gain(ours, theirs)
        each = ", ".join(
            f"{gain([one], [other]).mean:+.3f}" for one, other in zip(ours, theirs, strict=True)
        )
        told = f"{gap.mean:+.3f} ({gap.ends}) | {gap.p:.2g} | {each} |"
        click.echo(f"| attention less {name} | {size} | {told}")


if __name__ == "__main__":
    main()
