"""Tiles of a large slide: ours beside OpenSlide's, tile by tile, one core; ratios of one run.

    python -m tests.benchmarks.slides [--side 16384] [--rounds 3] [--mosaic PICTURE] [--halving]

A tiled JPEG of tissue, a mosaic of PICTURE or of the phantom's section, is cut into tiles of
256 px at its own scale, as they lie in the file and 100 px beside. Both sides give RGB arrays of
the same tiles; the best of the rounds in which they take turns counts. Beside it stands how many
of the file's own tiles the decoder alone gives, of whatever size: no reader exceeds their pixels.
With --halving tiles of half, a quarter and an eighth of the slide's scale are read, averaged and
halved in the decoder. Nothing passes or fails.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import openslide
import pyarrow as pa
import tifffile
from numpy.typing import NDArray
from PIL import Image

from histoscope.core.contracts import Sample
from histoscope.core.runtime.allocator import keep_freed_memory
from histoscope.domains.pathology import DOMAIN
from histoscope.domains.pathology.options import PrepareOptions, TileSampling
from histoscope.domains.pathology.phantom.sections import make_section
from histoscope.domains.pathology.readers.jpeg_tiles import JpegTiles
from histoscope.domains.pathology.tiling import PLACE

TILE_PX, BESIDE_PX, FIRST = 256, 100, 64  # the last: tiles that are compared
KINDS: dict[str, dict[str, Any]] = {  # how the file is written; its colours as JPEG has them
    "240 px, 4:2:0": {"tile": (240, 240), "subsampling": (2, 2)},
    "256 px, 4:2:0": {"tile": (256, 256), "subsampling": (2, 2)},
    "512 px, 4:2:0": {"tile": (512, 512), "subsampling": (2, 2)},
    "256 px, 4:4:4": {"tile": (256, 256), "subsampling": (1, 1)},
    "256 px, RGB": {"tile": (256, 256), "subsampling": (1, 1), "outcolorspace": "rgb"},
}


def mosaic(picture: NDArray[np.uint8], side: int, tile: int) -> Iterator[NDArray[np.uint8]]:
    """Tiles of a large picture, each cut out of the small one at another place."""
    rng = np.random.default_rng(0)
    for _ in range((-(-side // tile)) ** 2):
        y, x = (int(rng.integers(0, size - tile + 1)) for size in picture.shape[:2])
        yield np.ascontiguousarray(picture[y : y + tile, x : x + tile])


def write(path: Path, picture: NDArray[np.uint8], side: int, kind: dict[str, Any]) -> None:
    """A slide of one level at 0.5 um per pixel."""
    kind = dict(kind)
    how = {"level": 80}
    if "outcolorspace" in kind:
        how["outcolorspace"] = kind.pop("outcolorspace")
    tifffile.imwrite(
        path,
        mosaic(picture, side, kind["tile"][0]),
        shape=(side, side, 3),
        dtype=np.uint8,
        compression="jpeg",
        compressionargs=how,
        photometric="rgb",
        resolution=(2e4, 2e4),
        resolutionunit="CENTIMETER",
        metadata=None,
        **kind,
    )


def places(side: int, by_px: int) -> list[tuple[int, int]]:
    """Corners of the tiles that lie inside, row by row."""
    corners = range(by_px, side - TILE_PX + 1, TILE_PX)
    return [(x, y) for y in corners for x in corners]


def ours(path: Path, corners: Sequence[tuple[int, int]]) -> float:
    """CPU seconds of the reader of ``prepare`` and ``predict``, opened anew."""
    cut, options = TileSampling(size_px=TILE_PX, tile_mpp=0.5, min_tissue=0), PrepareOptions()
    (source,) = DOMAIN.find({"input": path}, options)
    x, y = zip(*corners, strict=True)
    rows = pa.table(dict(zip(PLACE, (x, y, *([float(TILE_PX)] * len(x),) * 2), strict=True)))
    began = time.process_time()
    with DOMAIN.open(source, {"input": path}, cut) as reader:
        for sample in reader.read(rows):
            assert isinstance(sample, Sample), sample
    return time.process_time() - began


def theirs(path: Path, corners: Sequence[tuple[int, int]]) -> float:
    """CPU seconds of the same tiles through OpenSlide, opened anew."""
    began = time.process_time()
    with openslide.OpenSlide(path) as slide:
        for place in corners:
            np.asarray(slide.read_region(place, 0, (TILE_PX, TILE_PX)).convert("RGB"))
    return time.process_time() - began


def decoder(path: Path, count: int) -> float:
    """CPU seconds of as many of the file's own tiles, decoded and given away: what is least."""
    with tifffile.TiffFile(path) as tiff, path.open("rb") as file:
        tiles = JpegTiles(file, tiff.pages.first)
        numbers = range(len(tiles.byte_counts))
        began = time.process_time()
        for place in range(count):
            tiles._decoded(numbers[place % len(numbers)], 1)
        return time.process_time() - began


def shrunk(path: Path, factor: int, *, halving: bool) -> tuple[float, NDArray[np.uint8]]:
    """CPU seconds a tile at 1/factor of the slide's scale, and the first of them."""
    told: dict[str, Any] = {"size_px": TILE_PX, "tile_mpp": 0.5 * factor, "min_tissue": 0}
    (source,) = DOMAIN.find({"input": path}, PrepareOptions())
    with DOMAIN.open(source, {"input": path}, TileSampling(**told, halving=halving)) as reader:
        rows = reader.plan().rows
        began, images = time.process_time(), []
        for sample in reader.read(rows):
            assert isinstance(sample, Sample), sample
            images.append(sample.image)
    return (time.process_time() - began) / len(rows), np.stack(images[:FIRST])


def compare_halving(path: Path, name: str, rounds: int) -> None:
    """Print a line for each scale."""
    for factor in (2, 4, 8):
        taken = [[shrunk(path, factor, halving=by) for by in (True, False)] for _ in range(rounds)]
        halved, exact = (min(one[side][0] for one in taken) for side in (0, 1))
        apart = np.abs(taken[0][0][1].astype(np.int16) - taken[0][1][1])
        rates = f"{1 / halved:.0f} | {1 / exact:.0f} | {exact / halved:.1f}"
        told = f"{apart.mean():.2f} | {np.percentile(apart, 99):.0f} | {apart.max()}"
        click.echo(f"| {name} | 1/{factor} | {rates} | {told} |")


@click.command(help=__doc__)
@click.option("--side", default=16384)
@click.option("--rounds", default=3)
@click.option("--mosaic", "picture", type=click.Path(path_type=Path, exists=True))
@click.option("--halving", is_flag=True, help="instead: coarser tiles, averaged and halved")
def main(side: int, rounds: int, picture: Path | None, halving: bool) -> None:
    """Print the table."""
    keep_freed_memory()  # as the program does
    if picture is None:
        pixels = make_section(0, 0, 2048).pixels
    else:
        Image.MAX_IMAGE_PIXELS = None
        pixels = np.asarray(Image.open(picture).convert("RGB"))
    heads = ["beside them by", "tiles", "ours, 1/s", "OpenSlide, 1/s", "ratio", "decoder, 1/s"]
    if halving:
        heads = ["scale", "halved, 1/s", "averaged, 1/s", "ratio", "apart, mean", "99 %", "most"]
    click.echo(f"| tiles of the file | {' | '.join(heads)} |")
    click.echo("| --- " * (1 + len(heads)) + "|")
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "slide.tif"
        for name, kind in KINDS.items():
            write(path, pixels, side, kind)
            if halving:
                compare_halving(path, name, rounds)
                continue
            for by_px in (0, BESIDE_PX):
                corners = places(side, by_px)
                taken = [
                    (ours(path, corners), theirs(path, corners), decoder(path, len(corners)))
                    for _ in range(rounds)
                ]
                first, second, least = map(min, zip(*taken, strict=True))
                rates = f"{len(corners) / first:.0f} | {len(corners) / second:.0f}"
                ratio = f"{second / first:.1f}"
                told = f"{rates} | {ratio} | {len(corners) / least:.0f}"
                click.echo(f"| {name} | {by_px} px | {len(corners)} | {told} |")


if __name__ == "__main__":
    main()
