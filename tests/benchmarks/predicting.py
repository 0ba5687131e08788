"""How much of what reading and network allow ``predict`` reaches, and what a plain loop reaches.

    python -m tests.benchmarks.predicting [--cores 1] [--tiles 6000] [--size-px 64]
        [--tile-mpp 0.5] [--encoder random:resnet18] [--rounds 3] [--readers 1]
        [--precision float32]

A mosaic of the phantom's section, as a pyramid of JPEG tiles at 0.5 um per pixel, is cut into
tiles, all of which count. Four sides take turns, each in processes of its own that are bound to the
same cores and load what they need before their time begins; the best of the rounds counts. On one
core its time is what is measured, so that it does not matter what else the machine does.

* reading: the domain's reader alone, on each core a process that reads its part;
* network: the runner alone, on tiles that lie in memory;
* predict: a source as the command's worker does it, with tables, pictures and GeoJSON;
* plain loop: tile by tile through OpenSlide and Pillow to tensors as torchvision makes them, then
  the network on 64 of them, eager float32, all in one thread but for the network's own.

Nothing here passes or fails.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

SLIDE_MPP, LEVELS, BATCH = 0.5, 3, 64
SIDES = ("reading", "network", "predict", "plain loop")
Told = Mapping[str, Any]


def write_slide(path: Path, side: int) -> None:
    """A mosaic and its halves."""
    import cv2
    import numpy as np
    import tifffile

    from histoscope.domains.pathology.phantom.sections import make_section

    section = make_section(0, 0, 2048).pixels
    draw, pixels = np.random.default_rng(0), np.zeros((side, side, 3), np.uint8)
    for y in range(0, side, 256):
        for x in range(0, side, 256):
            part = pixels[y : y + 256, x : x + 256]
            top, left = draw.integers(0, 2048 - 256, 2)
            part[:] = section[top : top + part.shape[0], left : left + part.shape[1]]
    with tifffile.TiffWriter(path) as out:
        for level in range(LEVELS):
            told = {"compression": "jpeg", "compressionargs": {"level": 80}, "metadata": None}
            per_cm = 1e4 / (SLIDE_MPP * 2**level)
            scale = {"resolution": (per_cm, per_cm), "resolutionunit": "CENTIMETER"}
            kind = {"photometric": "rgb", "tile": (256, 256), "subfiletype": int(level > 0)}
            out.write(pixels, **kind, **told, **scale)
            pixels = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def opening_of(told: Told) -> Any:
    """How the slide is opened."""
    from histoscope.core.work.reading import Opening
    from histoscope.domains.pathology.options import TileSampling

    cut = TileSampling(size_px=told["size_px"], tile_mpp=told["tile_mpp"], min_tissue=0)
    return Opening("pathology", {"input": Path(told["slide"])}, cut)


def source_of(told: Told) -> Any:
    """The only source there is."""
    from histoscope.domains.pathology import DOMAIN
    from histoscope.domains.pathology.options import ReadOptions

    (source,) = DOMAIN.find({"input": Path(told["slide"])}, ReadOptions())
    return source


def reading(told: Told) -> tuple[int, Callable[[], object]]:
    """Every ``parts``-th stretch of the plan, read and dropped."""
    reader = opening_of(told).open(source_of(told))
    rows = reader.plan().rows
    size = -(-len(rows) // told["parts"])
    mine = rows.slice(told["part"] * size, size)
    return len(mine), lambda: sum(1 for _ in reader.read(mine))


def network(told: Told) -> tuple[int, Callable[[], object]]:
    """All tiles, read before."""
    from histoscope.core.inference.runner import Runner
    from histoscope.core.packages.package import open_package
    from histoscope.core.runtime.device import Compute

    encoder, _ = open_package(Path(told["package"])).first_draw()
    runner = Runner.of(encoder, Compute("cpu", told["precision"], told["threads"]).start())
    reader = opening_of(told).open(source_of(told))
    samples = list(reader.read(reader.plan().rows))
    return len(samples), lambda: sum(len(batch.features) for batch in runner.run(samples))


def predict(told: Told) -> tuple[int, Callable[[], object]]:
    """The job of the command, in the folder that is thrown away."""
    from histoscope.core.runtime.device import Compute
    from histoscope.core.stages.predict import PREDICT, RESULTS, PredictJob
    from histoscope.core.work.folder import OutFolder
    from histoscope.core.work.job import Turn
    from histoscope.domains.pathology.options import ReadOptions

    source, opening = source_of(told), opening_of(told)
    with opening.open(source) as reader:
        count = len(reader.plan().rows)
    folder = OutFolder(Path(told["out"]), PREDICT, parts=RESULTS)
    compute = Compute("cpu", told["precision"], told["threads"])
    job = PredictJob(opening, ReadOptions(), Path(told["package"]), compute, folder)
    job.load()
    return count, lambda: job(source, Turn(readers=told["readers"]))


def plain_loop(told: Told) -> tuple[int, Callable[[], object]]:
    """What one writes in an hour, with the same weights."""
    import numpy as np
    import openslide
    import torch
    from PIL import Image

    from histoscope.core.packages.package import open_package

    torch.set_num_threads(told["cores"])
    encoder, _ = open_package(Path(told["package"])).first_draw()
    slide, side = openslide.OpenSlide(told["slide"]), told["size_px"]
    factor = told["tile_mpp"] / SLIDE_MPP
    level = slide.get_best_level_for_downsample(factor + 0.01)
    span = side * factor
    count = int(slide.dimensions[0] / span)
    taken = round(span / slide.level_downsamples[level])

    def tiles() -> Iterator[Any]:
        for place in range(count**2):
            at = int(place % count * span), int(place // count * span)
            tile = slide.read_region(at, level, (taken, taken)).convert("RGB")
            if taken != side:
                tile = tile.resize((side, side), Image.Resampling.BOX)
            # as torchvision's to_tensor
            yield torch.from_numpy(np.array(tile)).permute(2, 0, 1).contiguous().float().div(255)

    def act() -> None:
        waiting, features = list[Any](), []
        for tile in tiles():
            waiting.append(tile)
            if len(waiting) == BATCH:
                features.append(given(waiting))
                waiting.clear()
        if waiting:
            features.append(given(waiting))

    @torch.inference_mode()
    def given(batch: list[Any]) -> Any:
        return encoder.module(torch.stack(batch))

    return count**2, act


ACTS = {"reading": reading, "network": network, "predict": predict, "plain loop": plain_loop}


def work(told: Told) -> None:
    """A side of the comparison, in its own process: count and seconds on stdout."""
    os.sched_setaffinity(0, told["bound"])
    if told["side"] != "plain loop":
        from histoscope.core.runtime.allocator import keep_freed_memory

        keep_freed_memory()  # as the program does
    count, act = ACTS[told["side"]](told)
    clock = time.process_time if told["cores"] == 1 else time.perf_counter
    began = clock()
    act()
    print(count, clock() - began)  # noqa: T201


def rate(told: Told, side: str) -> float:
    """Tiles a second of a side, of all its processes together."""
    cores = list(range(told["cores"]))
    parts = [[core] for core in cores] if side == "reading" else [cores]
    started = []
    for part, bound in enumerate(parts):
        words = {**told, "side": side, "part": part, "parts": len(parts), "bound": bound}
        words["out"] = tempfile.mkdtemp(dir=told["out"])
        call = [sys.executable, "-m", "tests.benchmarks.predicting", "--told", json.dumps(words)]
        started.append(subprocess.Popen(call, stdout=subprocess.PIPE, text=True))
    said = [process.communicate()[0].split()[-2:] for process in started]
    return sum(int(count) for count, _ in said) / max(float(seconds) for _, seconds in said)


@click.command(help=__doc__)
@click.option("--cores", default=1)
@click.option("--tiles", default=6000, help="about so many")
@click.option("--size-px", default=64)
@click.option("--tile-mpp", default=SLIDE_MPP)
@click.option("--encoder", default="random:resnet18")
@click.option("--rounds", default=3)
@click.option("--readers", default=1, help="processes that read in predict")
@click.option("--precision", default="float32", help="of ours; the plain loop's is float32")
@click.option("--told", hidden=True)
def main(
    cores: int,
    tiles: int,
    size_px: int,
    tile_mpp: float,
    encoder: str,
    rounds: int,
    readers: int,
    precision: str,
    told: str | None,
) -> None:
    """Print what each side does in a second, and the two ratios."""
    if told:
        work(json.loads(told))
        return
    from histoscope.domains.pathology.options import TileSampling
    from tests.benchmarks.packages import make_package

    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        cut = TileSampling(size_px=size_px, tile_mpp=tile_mpp, min_tissue=0)
        package = make_package(place / "made", encoder, cut)
        write_slide(place / "slide.tif", int(tiles**0.5 * size_px * tile_mpp / SLIDE_MPP))
        about = {"slide": str(place / "slide.tif"), "package": str(package), "out": scratch}
        about |= {"size_px": size_px, "tile_mpp": tile_mpp, "cores": cores, "readers": readers}
        about |= {"threads": max(1, cores // readers), "precision": precision}
        best = dict.fromkeys(SIDES, 0.0)
        for _ in range(rounds):
            for side in SIDES:
                best[side] = max(best[side], rate(about, side))
    click.echo(f"{cores} cores, {encoder}, {size_px} px at {tile_mpp} um/px")
    click.echo(f"{readers} readers, {precision}")
    for side in SIDES:
        click.echo(f"  {side}: {best[side]:.0f} tiles/s")
    allowed = 1 / (1 / best["reading"] + 1 / best["network"])
    click.echo(f"  reading and network after each other: {allowed:.0f} tiles/s")
    click.echo(f"  predict / that: {best['predict'] / allowed:.2f}")
    click.echo(f"  predict / plain loop: {best['predict'] / best['plain loop']:.2f}")


if __name__ == "__main__":
    main()
