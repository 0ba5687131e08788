"""``python -m tests.benchmarks``: ratios, each measured in one run, both sides quoted.

Sides take turns, so that whatever else the machine does falls on both; the best of the rounds
counts. Nothing here passes or fails.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import openslide
import tifffile

from histoscope.core.data.shard import decode, encode
from histoscope.core.data.store import ImageReader, Store
from histoscope.core.progress import Silent
from histoscope.core.runtime.allocator import keep_freed_memory
from histoscope.core.stages.prepare import prepare
from histoscope.core.work.local import Local
from histoscope.domains.pathology import DOMAIN
from histoscope.domains.pathology.options import PrepareOptions, TileSampling
from histoscope.domains.pathology.phantom.slides import write_phantom
from tests.benchmarks import allocator, background, stain, videos

Side = tuple[str, Callable[[], object]]


def compare(what: str, ours: Side, other: Side, rounds: int = 5) -> None:
    """Print the best time of both sides and their ratio."""
    best = [float("inf"), float("inf")]
    for _ in range(rounds):
        for place, (_, act) in enumerate((ours, other)):
            began = time.perf_counter()
            act()
            best[place] = min(best[place], time.perf_counter() - began)
    print(  # noqa: T201
        f"{what}\n  {ours[0]}: {best[0] * 1e3:.1f} ms\n  {other[0]}: {best[1] * 1e3:.1f} ms\n"
        f"  ratio {best[0] / best[1]:.2f}"
    )


def command(*words: str) -> Callable[[], object]:
    """Run this Python with words, and wait."""
    return lambda: subprocess.run([sys.executable, *words], check=True, capture_output=True)


def help_page() -> None:
    """The command line must not load what it does not need."""
    compare(
        "histoscope --help, as a whole process",
        ("histoscope --help", command("-m", "histoscope", "--help")),
        ("python -c 'import click'", command("-c", "import click")),
    )


def tiles_of_a_slide(folder: Path) -> None:
    """The reader's own work beside OpenSlide's: compositing, resampling, bookkeeping."""
    slide = next((folder / "new").glob("*.tif"))
    cut = TileSampling(size_px=64, tile_mpp=1.0, min_tissue=0)
    roots = {"input": slide}
    options = PrepareOptions()
    (source,) = DOMAIN.find(roots, options)
    with DOMAIN.open(source, roots, cut) as reader:
        rows = reader.plan().rows

    def ours() -> None:
        with DOMAIN.open(source, roots, cut) as reader:
            for _ in reader.read(rows):
                pass

    def bare() -> None:
        with openslide.OpenSlide(slide) as opened:
            for row in rows.select(["x_level0_px", "y_level0_px"]).to_pylist():
                place = row["x_level0_px"], row["y_level0_px"]
                np.asarray(opened.read_region(place, 0, (64, 64)).convert("RGB"))

    name = f"{len(rows)} tiles of 64 px from a slide at its own scale"
    compare(name, ("SlideReader", ours), ("OpenSlide.read_region", bare))


def images_of_a_store(folder: Path) -> None:
    """Random access to a store beside decoding the same bytes from memory."""
    options = PrepareOptions(layout="folders", mpp=1.0)
    cut = TileSampling(size_px=64, tile_mpp=1.0)
    roots = {"input": folder / "labelled"}
    prepare(DOMAIN, roots, cut, options, folder / "store", engine=Local(0), progress=Silent())
    store = Store(folder / "store")
    order = np.random.default_rng(0).permutation(len(store.index))[:1000]
    reader = ImageReader(store)
    held = [encode(reader.image(int(row)), "jpeg") for row in order]
    compare(
        f"{len(order)} images of a store in random order",
        ("ImageReader", lambda: [reader.image(int(row)) for row in order]),
        ("decode from memory", lambda: [decode(data) for data in held]),
    )


def stain_of_tiles() -> None:
    """Stain augmentation of 32 tiles of 256 px, on one thread, beside albumentations.

    Twice: from the bytes of a picture, as albumentations is measured, and from the floating numbers
    that any operation on the device needs.
    """
    stain.one_thread()
    pictures = stain.tiles(32, 256)
    images = stain.images_of(pictures)
    other = ("albumentations HEStain", stain.albumentations_stain(pictures))
    for name, operation in stain.operations().items():
        what = f"stain of 32 tiles of 256 px, {name}"
        compare(f"{what}, from uint8", (name, stain.from_uint8(operation, pictures)), other, 15)
        compare(f"{what}, from float32", (name, stain.change(operation, images)), other, 15)


def stain_in_training() -> None:
    """What stain augmentation adds to a training step on one thread: two views of a batch."""
    stain.one_thread()
    images = stain.images_of(stain.tiles(256, 64))
    step = ("the rest of a step: ResNet-18, SimCLR", stain.training_step(128, 64))
    for name, operation in stain.operations().items():
        ours = (f"{name} of two views", stain.change(operation, images))
        compare(f"a training step of 128 tiles of 64 px, {name}", ours, step, rounds=3)


def background_in_training() -> None:
    """What other backgrounds add to a training step on one thread: two views of a batch.

    Without the network's pass over what ``swap`` opposes with, which is another cost.
    """
    stain.one_thread()
    step = ("the rest of a step: ResNet-18, SimCLR", stain.training_step(128, 64))
    for kind in ("remove", "random", "swap"):
        ours = (f"{kind} of two views", background.composed(kind, 128, 64))
        compare(f"a training step of 128 images of 64 px, backgrounds {kind}", ours, step, rounds=3)


def operations(folder: Path) -> None:
    """Preparing operations at 1 frame a second beside bare decoding; memory over two hours."""
    place = videos.clips(folder)
    compare(
        f"operations in {place.name} at 1 frame a second, 224 px",
        ("prepare", lambda: videos.prepare_all(place, folder / "operations")),
        ("PyAV, converting only the wanted frames", lambda: videos.decode_all(place)),
    )
    for line in videos.peak_memory(folder):
        print(line)  # noqa: T201


def peak_memory(folder: Path) -> None:
    """Memory must not grow with a slide: the same reading on one 16 times the area."""
    for factor in (1, 4):
        slide = folder / f"large-{factor}.tif"
        side = 2048 * factor
        tifffile.imwrite(
            slide,
            _bands(side),
            shape=(side, side, 3),
            dtype=np.uint8,
            tile=(256, 256),
            photometric="rgb",
            compression="jpeg",
            resolution=(2e4, 2e4),
            resolutionunit="CENTIMETER",
        )
        words = ("-m", "tests.benchmarks.read_slide", str(slide))
        done = subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True)
        print(f"reading a slide of {side} px: {done.stdout.strip()}")  # noqa: T201


def _bands(side: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    tile = rng.integers(120, 220, (256, 256, 3), np.uint8)
    for _ in range((side // 256) ** 2):
        yield tile


if __name__ == "__main__":
    allocator.main()
    keep_freed_memory()  # as the program does
    help_page()
    stain_of_tiles()
    stain_in_training()
    background_in_training()
    with tempfile.TemporaryDirectory() as scratch:
        write_phantom(Path(scratch), 0, train=4, valid=0, test=0, new=1)
        tiles_of_a_slide(Path(scratch))
        images_of_a_store(Path(scratch))
        peak_memory(Path(scratch))
        operations(Path(scratch))
