"""How long a prediction takes beside what ``--dry-run`` says of it.

    python -m tests.benchmarks.night [FOLDER --package PACKAGE] [--slides 30] [--workers 1]

``histoscope predict --dry-run`` and then the command itself, over FOLDER or over slides of the
phantom of many sizes, with a ResNet-18 of random weights. What is said is of one worker. Nothing
here passes or fails.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

import click
import numpy as np

from histoscope.domains.pathology.options import TileSampling
from tests.benchmarks.memory import watch
from tests.benchmarks.packages import make_package
from tests.benchmarks.predicting import write_slide

SMALLEST_PX, LARGEST_PX = 1000, 12000
UNITS_S = {"s": 1, "min": 60, "h": 3600}


def seconds_in(said: str) -> float:
    """``12 min`` of the line that tells how long it takes, in seconds."""
    found = re.search(r"samples, ([\d.]+) (s|min|h) with one worker", said)
    if found is None:
        raise click.ClickException(f"no time is told:\n{said}")
    return float(found[1]) * UNITS_S[found[2]]


def write_slides(folder: Path, count: int) -> None:
    """Slides whose sides are spread evenly by their logarithm, in an order of chance."""
    folder.mkdir()
    sides = np.geomspace(SMALLEST_PX, LARGEST_PX, count).round().astype(int)
    for number, side in enumerate(np.random.default_rng(0).permutation(sides)):
        write_slide(folder / f"slide-{number:02}.tif", int(side))


@click.command(help=__doc__)
@click.argument("folder", required=False, type=click.Path(path_type=Path, exists=True))
@click.option("--package", type=click.Path(path_type=Path, exists=True))
@click.option("--slides", default=30)
@click.option("--workers", default=1)
@click.option("--option", multiple=True, help="for the command, as --default-mpp=0.5")
def main(
    folder: Path | None, package: Path | None, slides: int, workers: int, option: tuple[str, ...]
) -> None:
    """Print what was said, what it took, and the ratio."""
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        if folder is None:
            folder = place / "slides"
            write_slides(folder, slides)
        if package is None:
            cut = TileSampling(size_px=64, tile_mpp=1.0)
            package = make_package(place / "made", "random:resnet18", cut)
        words = [sys.executable, "-m", "histoscope", "predict", str(folder), "--out"]
        words += [str(place / "out"), "--package", str(package), *option]
        dry = watch([*words, "--dry-run"], place / "talk.txt")
        click.echo(dry.said.splitlines()[-1])
        real = watch([*words, "--workers", str(workers)], place / "talk.txt", fine=(0, 1))
        click.echo(real.said.splitlines()[-2])
        said_s = seconds_in(dry.said)
        click.echo(
            f"said {said_s:.0f} s after {dry.seconds:.0f} s; took {real.seconds:.0f} s with "
            f"{workers} workers: said / took = {said_s / real.seconds:.2f}"
        )


if __name__ == "__main__":
    main()
