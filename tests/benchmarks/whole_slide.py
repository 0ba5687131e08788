"""Peak memory of ``histoscope predict`` on slides that are all tissue: it must not grow with them.

    python -m tests.benchmarks.whole_slide [--side 25000]... [--encoder colour]
        [--size-px 256] [--tile-mpp 0.5] [--levels 4] [--tile 256]

Slides of 0.5 um per pixel in which every tile is the same few bytes of the file, so that 100,000 px
a side fit into some MB. The command that a person would call is run on each, with all that it
writes; peaks are of its processes together and of the largest. Nothing here passes or fails.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from histoscope.domains.pathology.options import TileSampling
from tests.benchmarks.alike import MPP, tissue_tile, write_alike
from tests.benchmarks.memory import watch
from tests.benchmarks.packages import make_package


@click.command(help=__doc__)
@click.option("--side", "sides", multiple=True, default=(25_000, 50_000, 100_000), type=int)
@click.option("--encoder", default="colour")
@click.option("--size-px", default=256)
@click.option("--tile-mpp", default=MPP)
@click.option("--levels", default=4)
@click.option("--tile", default=256)
def main(
    sides: Sequence[int], encoder: str, size_px: int, tile_mpp: float, levels: int, tile: int
) -> None:
    """Print the table."""
    click.echo("| side, px | levels | tiles | minutes | all together, MB | largest process, MB |")
    click.echo("| --- " * 6 + "|")
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        cut = TileSampling(size_px=size_px, tile_mpp=tile_mpp)
        package, pixels = make_package(place / "made", encoder, cut), tissue_tile(tile)
        for side in sides:
            slide = place / f"{side}.tif"
            write_alike(slide, side, tile, levels, pixels)
            words = ("-m", "histoscope", "predict", str(slide), "--package", str(package))
            words += ("--out", str(place / f"out-{side}"))
            seen = watch([sys.executable, *words], place / "talk.txt")
            cells = [side, levels, seen.said.split()[0], f"{seen.seconds / 60:.1f}"]
            cells += [f"{seen.tree_mib * 1.048576:.0f}", f"{seen.peaks_mib[0] * 1.048576:.0f}"]
            click.echo(f"| {' | '.join(map(str, cells))} |")


if __name__ == "__main__":
    main()
