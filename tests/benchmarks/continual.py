"""Hospital after hospital: what an encoder forgets of the first, plainly and with CaSSLe.

    python -m tests.benchmarks.continual OUT [--encoder NAME] [--steps 300] [--later 800]
        [--rate 0.003] [--seeds 5] [--tissues "stroma"] [--weight 1]

On the phantom: an encoder learns from the tiles of laboratory A, then goes on with those of B, by
the same commands but for ``objective.continual``. From all tissues of B nothing is forgotten (it
has gained a point), so that there is something to keep B sends one tissue alone. After each part
a probe is fitted to 5 % of A's training labels, five draws, and scored on other cases of A. Below
half of what plain continuation loses: the last line, with a t-interval over seeds. What is finished
is not made again.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import click
import numpy as np

from histoscope.apps.cli import run
from histoscope.core.evaluation.intervals import over_draws
from histoscope.core.files import read_json
from histoscope.core.stages.evaluate import METRICS
from histoscope.domains.pathology.phantom.slides import write_phantom

CASES = {"train": 16, "valid": 2, "test": 12, "new": 0}
CUT = ("--layout", "folders", "--size-px", 64, "--mpp", 1, "--tile-mpp", 1)
CUT += ("--case-regex", r"(case-\d+)")
FEW = ("--fraction", 0.05, "--draws", 5)


def call(*words: object) -> None:
    """Run one command line in this process, and print it."""
    told = [str(word) for word in words]
    click.echo(f"histoscope {' '.join(told)}", err=True)
    if code := run(told):
        raise SystemExit(code)


def prepare(out: Path, tissues: set[str]) -> None:
    """A store of each laboratory's tiles, by case."""
    write_phantom(out / "phantom", **CASES)
    for name in "ab":
        if (out / name / "store.json").is_file():
            continue
        folder = out / f"tiles-{name}"
        shutil.rmtree(folder, ignore_errors=True)
        for tile in sorted((out / "phantom" / "labelled").rglob(f"*_lab-{name}_*.png")):
            part, tissue = tile.parts[-3:-1]
            if name == "a" or not tissues or tissue in tissues:
                (folder / part / tissue).mkdir(parents=True, exist_ok=True)
                shutil.copy(tile, folder / part / tissue)
        call("prepare", folder, "--domain", "pathology", *CUT, "--out", out / name)


def pretrain(store: Path, out: Path, how: tuple[object, ...]) -> Path:
    """Learn from a store's training tiles."""
    if not (out / "encoder.json").is_file():
        call("pretrain", store, *how, "--split", "train", "--out", out)
    return out


def accuracy(store: Path, encoder: object, out: Path) -> float:
    """Balanced accuracy on other cases of a probe of few labels, mean over draws."""
    scored = out / "evaluation"
    if not (scored / "report.html").is_file():
        if not (out / "package" / "SHA256SUMS").is_file():
            told = ("--encoder", encoder, *FEW, "--split", "train", "--out", out / "package")
            call("finetune", store, *told)
        call("evaluate", out / "package", store, "--split", "test", "--out", scored)
    ((_, told),) = read_json(scored / "metrics.json", *METRICS)["tasks"].items()
    return float(told["balanced_accuracy"]["value"])


@click.command(help=__doc__)
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--encoder", default="test_resnet")
@click.option("--steps", default=300)
@click.option("--later", default=800, help="steps at B")
@click.option("--rate", default=0.003, help="learning rate at B")
@click.option("--seeds", default=5, type=click.IntRange(2))
@click.option("--tissues", default="stroma", help="of laboratory B, between semicolons; '': all")
@click.option("--weight", default=1.0, help="of CaSSLe's term")
def main(
    out: Path,
    encoder: str,
    steps: int,
    later: int,
    rate: float,
    seeds: int,
    tissues: str,
    weight: float,
) -> None:
    """Make what is missing and print the table."""
    prepare(out, set(filter(None, tissues.split(";"))))
    kept = ("--set", "objective.continual=cassle", "--set", f"objective.continual.weight={weight}")
    rows = []
    click.echo("| seed | A | A, then B | the same with CaSSLe |\n" + "| --- " * 4 + "|")
    for seed in range(seeds):
        how = ("--preset", "simclr", "--set", f"encoder={encoder}", "--seed", seed)
        first = pretrain(out / "a", out / f"first-{seed}", (*how, "--steps", steps))
        on = (*how, "--steps", later, "--set", f"training.optimiser.learning_rate={rate}")
        on += ("--init", first)
        plain = pretrain(out / "b", out / f"plain-{seed}", on)
        cassle = pretrain(out / "b", out / f"cassle-{seed}", (*on, *kept))
        runs = (first, plain, cassle)
        rows.append([accuracy(out / "a", one, out / f"{one.name}-on-a") for one in runs])
        click.echo(f"| {seed} | {' | '.join(f'{one:.3f}' for one in rows[-1])} |")
    at_first, after, with_it = np.array(rows).T
    for name, ours, theirs in (
        ("plain continuation loses", at_first, after),
        ("with CaSSLe it loses", at_first, with_it),
        ("half of the former less the latter", (at_first - after) / 2, at_first - with_it),
    ):
        found = over_draws(ours.tolist(), theirs.tolist())
        click.echo(f"{name}: {found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f})")


if __name__ == "__main__":
    main()
