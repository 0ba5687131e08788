"""Making masks beside preparing the same store: each row one ratio of one run.

    python -m tests.benchmarks.keeping_up [--tiles FOLDER] [--slides FOLDER] [--rounds 3]

Slides of the phantom, and clips (real ones beside the checkout, else made ones) by the reader that
is the faster one for them; FOLDER holds tiles in zips, as PatchCamelyon's, or whole mounts of 4 um
per pixel. Both sides work in this process, on one thread, and take turns; the best of the rounds
counts. Below 1 masks are made faster than images are prepared. Nothing here passes or fails.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import cv2

from histoscope.core.contracts.masks import MASKS
from histoscope.core.data.store import Store
from histoscope.core.progress import Silent
from histoscope.core.stages.masks import make_masks
from histoscope.core.stages.prepare import prepare
from histoscope.core.work.local import Local
from histoscope.domains import pathology, surgery
from histoscope.domains.pathology.options import PrepareOptions, TileSampling
from histoscope.domains.pathology.phantom.slides import write_phantom
from histoscope.domains.surgery.options import FrameSampling
from histoscope.domains.surgery.options import PrepareOptions as VideoOptions
from tests.benchmarks.videos import clips


@dataclass(frozen=True)
class Row:
    """What is prepared, and whose masks are made.

    Attributes:
        what: words for the table.
        domain, folder, sampling, options: as ``prepare`` has them.
        provider: of masks.
    """

    what: str
    domain: Any
    folder: Path
    sampling: Any
    options: Any
    provider: str

    def prepare(self, store: Path) -> float:
        """Write the store anew; seconds."""
        shutil.rmtree(store, ignore_errors=True)
        told = (self.domain, {"input": self.folder}, self.sampling, self.options, store)
        began = time.perf_counter()
        prepare(*told, engine=Local(0), progress=Silent())
        return time.perf_counter() - began

    def mask(self, store: Path) -> float:
        """Make the masks of a store that has none; seconds."""
        opened, provider = Store(store), MASKS.load(self.provider)
        began = time.perf_counter()
        make_masks(opened, provider, provider.settings(), engine=Local(0), progress=Silent())
        return time.perf_counter() - began


def rows(scratch: Path, tiles: Path | None, mounts: Path | None) -> Iterator[Row]:
    """All rows; what they read is written into the folder."""
    write_phantom(scratch / "slides", 0, train=4, valid=0, test=0, new=0)
    slides = scratch / "slides" / "unlabelled"
    for side in (64, 256):
        cut = TileSampling(size_px=side, tile_mpp=1.0)
        for provider in ("tissue", "nuclei"):
            what = f"slides, {side} px"
            yield Row(what, pathology.DOMAIN, slides, cut, PrepareOptions(), provider)
    if tiles:
        cut = TileSampling(size_px=64, tile_mpp=1.458)
        options = PrepareOptions(layout="zip", mpp=0.972)
        yield Row("tiles in zips, 64 px", pathology.DOMAIN, tiles, cut, options, "nuclei")
    if mounts:
        cut, options = TileSampling(size_px=64, tile_mpp=4.0), PrepareOptions(default_mpp=4.0)
        for provider in ("tissue", "nuclei"):
            yield Row("whole mounts, 64 px", pathology.DOMAIN, mounts, cut, options, provider)
    for path in sorted(clips(scratch).glob("*.mp4")):
        for side in (64, 224):
            seen = FrameSampling(size_px=side, fps=1.0)
            reading = VideoOptions(video_reader="sequential")
            what = f"{path.stem}, 1 fps, {side} px"
            yield Row(what, surgery.DOMAIN, path, seen, reading, "instruments")


def line(row: Row, rounds: int, store: Path) -> str:
    """A line of the table: images, images a second of both, ratio."""
    taken = [(row.prepare(store), row.mask(store)) for _ in range(rounds)]
    prepared, masked = map(min, zip(*taken, strict=True))
    count = len(Store(store).index)
    cells = [f"{row.what}, {row.provider}", count, f"{count / masked:.0f}"]
    return f"| {' | '.join(map(str, cells))} | {count / prepared:.0f} | {masked / prepared:.2f} |"


@click.command(help=__doc__)
@click.option("--tiles", type=click.Path(path_type=Path, exists=True))
@click.option("--slides", type=click.Path(path_type=Path, exists=True))
@click.option("--rounds", default=3)
def main(tiles: Path | None, slides: Path | None, rounds: int) -> None:
    """Print the table."""
    cv2.setNumThreads(1)
    click.echo("| images, masks | images | masks/s | prepared/s | masks' time / prepare's |")
    click.echo("| --- " * 5 + "|")
    with tempfile.TemporaryDirectory() as scratch:
        for row in rows(Path(scratch), tiles, slides):
            click.echo(line(row, rounds, Path(scratch) / "store"))


if __name__ == "__main__":
    main()
