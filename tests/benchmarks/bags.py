"""What large bags cost: heads of slides on features of other programs, one core.

    python -m tests.benchmarks.bags [--rows 50000] [--dim 1024] [--labelled 20] [--method attention]

Features in TRIDENT's layout: ``labelled`` slides of a fiftieth of ``rows`` to learn from, then one
of as many rows, and one of a tenth. Each line is what one command took that a person would call,
with all that it writes. Nothing passes or fails.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
import h5py
import numpy as np

from tests.benchmarks.memory import watch

PX, SPREAD = 256, 64  # side of a patch; rows of a column of them


def write_features(path: Path, rows: int, dim: int, shift: float, seed: int) -> None:
    """One slide's features, as TRIDENT has them."""
    path.parent.mkdir(exist_ok=True, parents=True)
    rng = np.random.default_rng(seed)
    corners = np.stack(np.divmod(np.arange(rows), SPREAD), 1) * PX
    with h5py.File(path, "w") as file:
        features = rng.standard_normal((rows, dim), np.float32) + np.float32(shift)
        file.create_dataset("features", data=features).attrs["encoder"] = "made"
        said = {"patch_size": PX, "patch_size_level0": PX, "level0_magnification": 20}
        places = file.create_dataset("coords", data=corners)
        places.attrs.update({**said, "target_magnification": 20, "overlap": 0})


def line_of(name: str, words: Sequence[object], folder: Path) -> str:
    """A command's line of the table."""
    seen = watch([sys.executable, "-m", "histoscope", *map(str, words)], folder / "talk.txt")
    return f"| {name} | {seen.seconds:.1f} | {seen.tree_mib * 1.048576:.0f} |"


@click.command(help=__doc__)
@click.option("--rows", default=50_000)
@click.option("--dim", default=1024)
@click.option("--labelled", default=20)
@click.option("--method", default="attention")
def main(rows: int, dim: int, labelled: int, method: str) -> None:
    """Print the table."""
    click.echo("| command | seconds | most memory, MB |\n| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        lines = ["slide,label,case"]
        for number in range(labelled):
            write_features(place / "few" / f"s{number}.h5", rows // 50, dim, number % 2, number)
            lines.append(f"s{number},{'ab'[number % 2]},P{number}")
        (place / "labels.csv").write_text("\n".join(lines))
        asked = ("--features", place / "few", "--labels", place / "labels.csv")
        way = ("--fraction", 1, "--draws", 1, "--method", method, "--out", place / "package")
        said = f"finetune, {labelled} slides of {rows // 50:,} patches"
        click.echo(line_of(said, ("finetune", *asked, *way), place))
        for count in (rows // 10, rows):
            write_features(place / f"{count}" / "new.h5", count, dim, 1, labelled + 1)
            by = ("--package", place / "package", "--out", place / f"out-{count}", "--workers", 0)
            words = ("predict", "--features", place / f"{count}", *by)
            click.echo(line_of(f"predict, one slide of {count:,} patches", words, place))


if __name__ == "__main__":
    main()
