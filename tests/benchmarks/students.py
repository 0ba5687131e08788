"""A small network that learns what a large one says (SimReg): how near it comes, how much faster.

    python -m tests.benchmarks.students OUT [--student NAME] [--steps 1000] [--teacher-steps 300]

On the phantom's labelled tiles of both laboratories: a ResNet-18 learns by SimCLR, then the student
what it says of the same tiles. Probes of both, and of the student with random weights, from 5 % of
the training labels, five draws, on other cases; gaps with intervals over cases and draws.
Times are those of 64 tiles on one core, turn by turn, batch norms folded as in ``predict``; the
best of the rounds counts. What is finished is not made again.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import click
import numpy as np
import torch

from histoscope.core.inference.runner import Runner
from histoscope.core.runtime.device import AUTO
from histoscope.core.stages.compare import compare
from histoscope.core.stages.encoders import open_folder
from histoscope.domains.pathology.phantom.slides import write_phantom
from tests.benchmarks.continual import CASES, CUT, accuracy, call, pretrain

IMAGES, ROUNDS = 64, 20


def prepare(out: Path) -> Path:
    """A store of the phantom's labelled tiles, with their cases."""
    store = out / "store"
    if not (store / "store.json").is_file():
        write_phantom(out / "phantom", **CASES)
        shutil.rmtree(store, ignore_errors=True)
        folder = out / "phantom" / "labelled"
        call("prepare", folder, "--domain", "pathology", *CUT, "--out", store)
    return store


def seconds(runs: list[Path]) -> list[float]:
    """Of each encoder for 64 tiles."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(IMAGES)]
    runners, best = [Runner.of(open_folder(one), AUTO) for one in runs], [np.inf] * len(runs)
    for _ in range(ROUNDS):
        for place, runner in enumerate(runners):
            began = time.perf_counter()
            runner.features(images)
            best[place] = min(best[place], time.perf_counter() - began)
    return best


@click.command(help=__doc__)
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--student", default="mobilenetv3_small_050")
@click.option("--steps", default=1000)
@click.option("--teacher-steps", default=300)
def main(out: Path, student: str, steps: int, teacher_steps: int) -> None:
    """Make what is missing and print the table."""
    store = prepare(out)
    teacher = pretrain(store, out / "teacher", ("--preset", "simclr", "--steps", teacher_steps))
    told = ("--set", f"encoder={student}", "--set", "objective.base=simreg", "--steps", steps)
    taught = ("--set", f"objective.teacher={teacher}", "--set", "training.batch_size=128")
    small = pretrain(store, out / student, (*told, *taught))
    ways = {"teacher": teacher, student: small, f"{student}, random": f"random:{student}"}
    found = {name: accuracy(store, one, out / f"{name}-scored") for name, one in ways.items()}
    large, little = seconds([teacher, small])
    click.echo("| network | balanced accuracy | less the teacher's | 64 tiles, ms |")
    click.echo("| --- " * 4 + "|")
    of_teacher = out / "teacher-scored" / "evaluation"
    for name, value in found.items():
        (gap,) = compare([(out / f"{name}-scored" / "evaluation", of_teacher)])
        took = large if name == "teacher" else little
        less = "" if name == "teacher" else f"{gap.gap.mean:+.3f} ({gap.gap.ends})"
        click.echo(f"| {name} | {value:.3f} | {less} | {1000 * took:.1f} |")
    click.echo(f"the student takes {little / large:.2f} of the teacher's time")


if __name__ == "__main__":
    main()
