"""Phases of made operations: heads over time beside single frames, smoothing and a clock.

    python -m tests.benchmarks.phases OUT [--steps 150] [--cases 8] [--draws 3] [--part test]
        [--phantoms "0"] [--least-s 10] [--set mstcn.steps=1000]

On 36 operations of the phantom (decision 0008) in small frames: an encoder is learnt from the 16
training operations without labels, heads from the labels of whole ones, and scored on 16 others
(``--part valid``: four more), by the commands that are printed. Beside them stand what the probe
says without segments shorter than ``--least-s`` (``predict --least-segment-s``), and two clocks:
tables of phases by time, counted on the labels of the same draws, of which one knows how long an
operation will last. F1 is the mean over the phases of an operation, then over operations
(``video_first``); F1@50 and edit speak of segments; in percent. Each phantom (a seed) has
operations, an encoder and heads of its own in ``OUT/SEED``; means and intervals are over the
operations of all and over draws. Settings were chosen on all operations of phantom 0, test among
them: what is quoted is of others. What is finished is not made again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from histoscope.apps.cli import run
from histoscope.core.contracts import Task
from histoscope.core.data.store import Store
from histoscope.core.evaluation.intervals import Metric, difference, less, resampled
from histoscope.core.evaluation.predictions import read_predictions
from histoscope.domains.surgery.metrics.protocols import SCORES, cell_scores, counts
from histoscope.domains.surgery.metrics.segmental import OVERLAPS, edit_score, segment_counts
from histoscope.domains.surgery.metrics.spread import mean_defined
from histoscope.domains.surgery.phantom import write_phantom
from histoscope.domains.surgery.phases import PHASES
from histoscope.domains.surgery.smoothing import without_short

SIZE = {"train": 16, "valid": 4, "test": 16, "new": 0, "width_px": 96, "height_px": 64}
CUT = ("--domain", "surgery", "--size-px", 64, "--fps", 1)
ENCODER = ("--preset", "simclr", "--set", "encoder=test_resnet")
ENCODER += ("--set", "views.geometry.quarter_turns=false")
TASK = Task("phase", PHASES)
HEADS: Mapping[str, tuple[str, ...]] = {
    "probe": ("--method", "probe"),
    "mstcn": ("--method", "mstcn"),
    "mstcn-both": ("--method", "mstcn", "--set", "mstcn.causal=false"),
}
BIN_S, PARTS = 15, 16  # of the clocks: seconds since the start, and parts of an operation
Answers = Sequence[Sequence[NDArray[np.int64]]]  # a draw's of each operation, (rows,)
MEASURES = ("F1", "F1@50", "edit")
GAPS = (
    ("mstcn", "probe"),
    ("mstcn", "clock"),
    ("mstcn-both", "probe"),
    ("mstcn-both", "probe, long"),
    ("mstcn-both", "clock, relative"),
    ("mstcn", "probe, long"),
)


def call(*words: object) -> None:
    """Run one command line in this process, and print it."""
    told = [str(word) for word in words]
    click.echo(f"histoscope {' '.join(told)}", err=True)
    if code := run(told):
        raise SystemExit(code)


@dataclass(frozen=True)
class Operations:
    """Operations that are scored.

    Attributes:
        rows: of each, its places among the scored samples, in order of time.
        times: of these, s.
        truth: ids of their phases.
    """

    rows: Sequence[NDArray[np.int64]]
    times: Sequence[NDArray[np.float64]]
    truth: Sequence[NDArray[np.int64]]


@dataclass(frozen=True)
class Study:
    """The store, an encoder, and what heads on it say.

    Attributes:
        out: folder of all that is made.
        seed: of the phantom.
        cases, draws: labelled operations of a draw, and how many draws.
        part: that is scored.
        sets: settings of the heads over time.
    """

    out: Path
    seed: int
    cases: int
    draws: int
    part: str
    sets: Sequence[str] = ()

    @property
    def store(self) -> Path:
        """Their frames."""
        return self.out / "store"

    def prepare(self, steps: int) -> None:
        """Make the operations, cut them, and learn the encoder."""
        write_phantom(self.out / "phantom", self.seed, **SIZE)
        if not (self.store / "labels" / "phase.parquet").is_file():
            call("prepare", self.out / "phantom" / "labelled", *CUT, "--out", self.store)
        if not (self.out / "run" / "encoder.json").is_file():
            how = (*ENCODER, "--split", "train", "--steps", steps)
            call("pretrain", self.store, *how, "--out", self.out / "run")

    def folder(self, head: str) -> Path:
        """Of a package and its evaluations."""
        told = "_".join(self.sets) if head != "probe" else ""
        return self.out / f"{head}-{self.cases}-{self.draws}{'-' * bool(told)}{told}"

    def scores(self, head: str) -> tuple[Operations, Sequence[NDArray[np.float32]]]:
        """What a head says of the scored samples, by draw."""
        package, scored = self.folder(head) / "package", self.folder(head) / self.part
        if not (package / "SHA256SUMS").is_file():
            few = ("--task", "phase", "--whole-cases", self.cases, "--draws", self.draws)
            sets = [word for one in self.sets if head != "probe" for word in ("--set", one)]
            how = ("--encoder", self.out / "run", *few, *HEADS[head], *sets, "--split", "train")
            call("finetune", self.store, *how, "--out", package)
        if not (scored / "report.html").is_file():
            call("evaluate", package, self.store, "--split", self.part, "--out", scored)
        found = read_predictions(scored, TASK, self.draws)
        return self._operations(found.names, found.truth.values), found.scores

    def _operations(self, names: Sequence[str], truth: NDArray[np.int64]) -> Operations:
        index = {row["id"]: row for row in Store(self.store).index.to_pylist()}
        at_s = np.array([index[name]["at_s"] for name in names])
        sources = np.array([index[name]["source"] for name in names])
        places = [np.flatnonzero(sources == one) for one in np.unique(sources)]
        rows = [one[np.argsort(at_s[one])] for one in places]
        return Operations(rows, [at_s[one] for one in rows], [truth[one] for one in rows])

    def values(self, least_s: float) -> dict[str, NDArray[np.float64]]:
        """Measures of each that answers, by its name; see :func:`measured`."""
        answers = dict[str, Answers]()
        for head in HEADS:
            asked, scores = self.scores(head)
            answers[head] = best(asked, scores)
            if head != "mstcn":
                answers[f"{head}, long"] = long(asked, scores, least_s)
        answers["clock"] = self.clock(asked, since_start)
        answers["clock, relative"] = self.clock(asked, relative)
        return {name: measured(asked, told) for name, told in answers.items()}

    def clock(self, asked: Operations, bins: Callable[..., NDArray[np.int64]]) -> Answers:
        """What a table of phases by time says, counted on the labels of each draw."""
        store = Store(self.store)
        index = {row["id"]: row for row in store.index.to_pylist()}
        told = store.labels("phase").rows.to_pylist()
        phase_of = {row["sample"]: PHASES.index(row["label"]) for row in told if row["label"]}
        lasts = dict[str, float]()
        for row in index.values():
            lasts[row["source"]] = max(lasts.get(row["source"], 0.0), row["at_s"])
        drawn = pq.read_table(self.folder("probe") / "package" / "draws.parquet").to_pylist()
        out = []
        for draw in range(self.draws):
            names = [row["sample"] for row in drawn if row["draw"] == draw]
            at_s = np.array([index[name]["at_s"] for name in names])
            ends = np.array([lasts[index[name]["source"]] for name in names])
            phases = np.array([phase_of[name] for name in names])
            table = np.zeros((1000, len(PHASES)))
            np.add.at(table, (bins(at_s, ends), phases), 1)
            table += 1e-3 * table.sum(axis=0) / table.sum()  # a time that no label has
            out.append([table[bins(one, one[-1])].argmax(axis=1) for one in asked.times])
        return out


def since_start(at_s: NDArray[np.float64], _: object) -> NDArray[np.int64]:
    """Which quarter of a minute."""
    return (at_s // BIN_S).astype(np.int64)


def relative(at_s: NDArray[np.float64], end_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Which sixteenth of an operation."""
    return np.minimum(at_s / end_s * PARTS, PARTS - 1).astype(np.int64)


def best(asked: Operations, scores: Sequence[NDArray[np.float32]]) -> Answers:
    """Of each row the class with the best score."""
    return [[one[rows].argmax(axis=1) for rows in asked.rows] for one in scores]


def long(asked: Operations, scores: Sequence[NDArray[np.float32]], least_s: float) -> Answers:
    """The same without short segments."""
    both = list(zip(asked.rows, asked.times, strict=True))
    return [[without_short(one[rows], at_s, least_s) for rows, at_s in both] for one in scores]


def measured(asked: Operations, answers: Answers) -> NDArray[np.float64]:
    """F1, F1@50 and edit, percent, (draws, operations, 3)."""
    return np.array(
        [
            [_of_one(truth, said) for truth, said in zip(asked.truth, draw, strict=True)]
            for draw in answers
        ]
    )


def _of_one(truth: NDArray[np.int64], said: NDArray[np.int64]) -> tuple[float, float, float]:
    cells = cell_scores(counts(truth, said, len(PHASES)), "zero")  # (phases, 4)
    frames = float(mean_defined(cells, axis=0)[SCORES.index("f1")])
    right, wrong, missed = segment_counts(truth, said, OVERLAPS["f1@50"]).tolist()
    return frames, 200 * right / (2 * right + wrong + missed), edit_score(truth, said)


def over_operations(values: NDArray[np.float64]) -> Metric:
    """The weighted mean over operations, of (draws, operations)."""
    return lambda draw, came: came @ values[draw] / came.sum(axis=1)


def said(values: NDArray[np.float64]) -> str:
    """A mean with its interval."""
    found = resampled(over_operations(values), values.shape[1], len(values))
    low, high = found.ends
    ends = f"{low:.1f} to {high:.1f}" if found.known else "unknown"
    return f"{found.whole.mean():.1f} ({ends})"


def gap(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> str:
    """A paired difference with its interval and p."""
    metric = less(over_operations(ours), over_operations(theirs))
    found = difference(metric, ours.shape[1], len(ours))
    known = not np.isnan(found.low)
    ends = f"{found.low:+.1f} to {found.high:+.1f}; p {found.p:.2g}" if known else "unknown"
    return f"{found.mean:+.1f} ({ends})"


@click.command(help=__doc__)
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--steps", default=150, help="of pretraining")
@click.option("--cases", default=8, help="labelled operations")
@click.option("--draws", default=3)
@click.option("--part", default="test", type=click.Choice(["valid", "test"]))
@click.option("--phantoms", default="0", help="seeds between semicolons")
@click.option("--least-s", default=10.0, help="shortest segment of the smoothed probe")
@click.option("--set", "sets", multiple=True, help="of the heads over time")
def main(
    out: Path,
    steps: int,
    cases: int,
    draws: int,
    part: str,
    phantoms: str,
    least_s: float,
    sets: tuple[str, ...],
) -> None:
    """Make what is missing and print the tables."""
    each = []
    for seed in map(int, phantoms.split(";")):
        study = Study(out / str(seed), seed, cases, draws, part, sets)
        study.prepare(steps)
        each.append(study.values(least_s))
    values = {name: np.concatenate([one[name] for one in each], axis=1) for name in each[0]}
    click.echo(f"| head | {' | '.join(MEASURES)} |\n" + "| --- " * 4 + "|")
    for name, one in values.items():
        click.echo(f"| {name} | {' | '.join(said(one[..., at]) for at in range(3))} |")
    click.echo(f"\n| difference | {' | '.join(MEASURES)} |\n" + "| --- " * 4 + "|")
    for ours, theirs in GAPS:
        told = [gap(values[ours][..., at], values[theirs][..., at]) for at in range(3)]
        click.echo(f"| {ours} less {theirs} | {' | '.join(told)} |")
    click.echo()
    for ours, theirs in GAPS:
        gaps = [f"{(one[ours] - one[theirs])[..., 0].mean():+.1f}" for one in each]
        click.echo(f"{ours} less {theirs}, F1 of each phantom: {', '.join(gaps)}")


if __name__ == "__main__":
    main()
