"""How good the masks of each provider are, and how fast they are made.

    python -m tests.benchmarks.masks [--surgery FOLDER] [--nuclei FOLDER] [--encoder WORD]

On the phantoms; on real data where folders are given, which hold what SURGERY and NUCLEI say. IoU,
recall and precision are over all pixels of a source, then the mean over sources; speed is of one
core, decoding not counted. Nothing here passes or fails.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from histoscope.core.contracts.masks import MaskMaker
from histoscope.core.encoders.contract import EncoderSpec
from histoscope.core.encoders.making import random_encoder
from histoscope.core.stages.encoders import open_folder
from histoscope.core.stages.maps import resized
from histoscope.domains.saliency import INSTRUMENTS, LEARNED, NUCLEI, TISSUE
from histoscope.domains.saliency.settings import LearnedSpec
from tests.domains.saliency import painted
from tests.domains.saliency.painted import Painted

if TYPE_CHECKING:
    from histoscope.core.contracts.masks import Maps

SURGERY = "frames/OPERATION_FRAME.jpg, labels/same.png (6 is a tool), frames.csv"
NUCLEI_FOLDER = "fields/NAME.jpg at 0.25 um per pixel, masks/NAME.png"
TOOL = 6
RICH_UM, RICH = 5.0, 0.2  # rich in nuclei: a fifth of what lies about 5 um around is nucleus
SCALES = ((0.25, 256), (0.5, 224), (1.0, 96), (2.0, 64))  # um per pixel, side of a tile in px
LEARNED_MPP = 0.5  # one scale is enough for what is learned


def open_maps(word: str, size_px: int) -> Maps:
    """Maps of a folder's encoder, or of ``random:NAME``."""
    kind, _, name = word.partition(":")
    if kind == "random":
        encoder = random_encoder(EncoderSpec.model_validate(name), size_px, 0).eval()
    else:
        encoder = open_folder(Path(word)).encoder

    def maps(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        with torch.no_grad():
            sized = np.stack([resized(image, size_px) for image in images])
            given = torch.from_numpy(sized).permute(0, 3, 1, 2).float() / 255
            return encoder.encode(given, "map").numpy()

    return maps


def row(what: str, maker: MaskMaker, sources: Iterator[Painted]) -> None:
    """Measure a provider on sources and print a line of the table."""
    scores, images, took_s = [], 0, 0.0
    for source in sources:
        began = time.perf_counter()
        scores.append(painted.agreement(maker, source))
        took_s += time.perf_counter() - began
        images += len(source)
    means = " | ".join(f"{value:.3f}" for value in np.mean(scores, axis=0))
    least = min(score[0] for score in scores)
    rate = f"{images / took_s:.0f}"
    print(f"| {what} | {len(scores)} | {images} | {means} | {least:.3f} | {rate} |", flush=True)  # noqa: T201


def operations(folder: Path, part: str) -> Iterator[Painted]:
    """Frames of each operation of a part that has at least three, and their tools."""
    with (folder / "frames.csv").open(encoding="utf-8") as handle:
        rows = [one for one in csv.DictReader(handle) if one["split"] == part]
    for operation in sorted({one["operation"] for one in rows}):
        names = [one["frame"] for one in rows if one["operation"] == operation]
        if len(names) >= 3:
            yield [_frame(folder, name) for name in names]


def _frame(folder: Path, name: str) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    label = cv2.imread(str(folder / "labels" / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
    return _picture(folder / "frames" / f"{name}.jpg"), np.asarray(label == TOOL)


def _picture(path: Path) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), np.uint8)


def fields(folder: Path, half: int, mpp: float, tile_px: int) -> Iterator[Painted]:
    """Fields of the first or second half by name, reduced, in tiles, and where nuclei are rich."""
    paths = sorted((folder / "fields").glob("*.jpg"))
    middle = len(paths) // 2
    for path in paths[middle:] if half else paths[:middle]:
        mask = cv2.imread(str(folder / "masks" / f"{path.stem}.png"), cv2.IMREAD_GRAYSCALE)
        share = cv2.GaussianBlur((mask > 0).astype(np.float32), (0, 0), RICH_UM / 0.25)
        across = int(1000 * 0.25 / mpp) // tile_px * tile_px
        side = (round(1000 * 0.25 / mpp),) * 2
        pixels = cv2.resize(_picture(path), side, interpolation=cv2.INTER_AREA)[:across, :across]
        rich = cv2.resize(share, side, interpolation=cv2.INTER_AREA)[:across, :across] > RICH
        yield painted.tiles_of(np.asarray(pixels, np.uint8), rich, tile_px)


def on_phantoms() -> None:
    """Sections of the four cases that come first, four operations at three sizes."""
    row("tissue, phantom", _made(TISSUE), (painted.tissue_tiles(case) for case in range(4)))
    row("nuclei, phantom", _made(NUCLEI), (painted.nuclei_tiles(case) for case in range(4)))
    for size in ((192, 108), (64, 64), (300, 300)):
        shot = (painted.frames(operation, size) for operation in range(4))
        row(f"instruments, phantom, {size[0]} x {size[1]}", _made(INSTRUMENTS), shot)


def _made(provider: object) -> MaskMaker:
    return provider.make(provider.settings(), open_maps)  # type: ignore[attr-defined]


def learned_rows(like: str, encoders: Sequence[tuple[str, int]]) -> dict[str, MaskMaker]:
    """What learns from a provider, by encoder and side; without one as well."""
    made = {"": LEARNED.make(LearnedSpec(like=like, encoder=None), open_maps)}
    for word, side in encoders:
        spec = LearnedSpec(like=like, encoder=word, size_px=side)
        made[f", {Path(word).name} {side} px"] = LEARNED.make(spec, open_maps)
    return {f"learned of {like}{what}": maker for what, maker in made.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--surgery", type=Path, help=SURGERY)
    parser.add_argument("--nuclei", type=Path, help=NUCLEI_FOLDER)
    parser.add_argument(
        "--encoder", nargs="*", default=[], help="for learned: folders, or random:NAME"
    )
    parser.add_argument("--size-px", type=int, nargs="*", default=[512], help="for learned")
    parser.add_argument("--parts", nargs="*", default=["train", "valid"], help="of --surgery")
    told = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    encoders = [(word, side) for word in told.encoder for side in told.size_px]
    print("| masks | sources | images | IoU | recall | precision | least IoU | images/s |")  # noqa: T201
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")  # noqa: T201
    on_phantoms()
    if told.nuclei:
        for mpp, tile_px in SCALES:
            for half, name in enumerate(("first", "second")):
                rows = {"nuclei": _made(NUCLEI)}
                if mpp == LEARNED_MPP:
                    rows |= learned_rows("nuclei", encoders)
                for provider, maker in rows.items():
                    tiles = fields(told.nuclei, half, mpp, tile_px)
                    row(f"{provider}, {name} fields, {mpp} um/px, {tile_px} px", maker, tiles)
    if told.surgery:
        for part in told.parts:
            rows = {"instruments": _made(INSTRUMENTS)} | learned_rows("instruments", encoders)
            for provider, maker in rows.items():
                row(f"{provider}, {part}", maker, operations(told.surgery, part))


if __name__ == "__main__":
    main()
