"""``python -m tests.stain_sheet``: draw ``docs/stain.jpg``, real tiles under every stain option."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from histoscope.core.randomness import generator
from histoscope.core.views.plan import DeviceOperation
from histoscope.domains.pathology import DOMAIN
from histoscope.domains.pathology.options import ReadOptions, TileSampling
from histoscope.domains.pathology.stain import StainJitter, StainSpec
from histoscope.domains.pathology.stain_fit import fit_statistics
from histoscope.domains.pathology.stain_normalisation import EachAlone
from histoscope.domains.pathology.stain_statistics import StainStatistics

HOUSE = Path(__file__).resolve().parents[1]
DATA = HOUSE.parent / "shared" / "data" / "pathology"
CELL_PX, LABEL_PX, GAP_PX = 144, 132, 4
SLIDE_TILES = [(640, 1920), (1024, 1152)]  # level-0 corners: tissue, and mostly glass
PATCHES = [7, 5, 3, 1, 10]  # rows of PatchCamelyon's train part; 1 and 10 hold grey glass

Tiles = list[NDArray[np.uint8]]
Row = Callable[[Tiles], Tiles]


def slide_tiles(normalisation: str = "none") -> Tiles:
    """Two tiles of 96 px at 1 um/px, read as ``prepare`` reads them."""
    path = DATA / "slides" / "CMU-1-Small-Region.svs"
    cut = TileSampling(size_px=96, tile_mpp=0.998, min_tissue=0, stain_normalisation=normalisation)
    roots = {"input": path}
    (source,) = DOMAIN.find(roots, ReadOptions())
    with DOMAIN.open(source, roots, cut) as reader:
        rows = reader.plan().rows
        corners = np.stack([rows.column(f"{axis}_level0_px").to_numpy() for axis in "xy"], axis=1)
        nearest = [int(np.abs(corners - place).sum(axis=1).argmin()) for place in SLIDE_TILES]
        return [next(iter(reader.read(rows.slice(place, 1)))).image for place in nearest]


def drawn(operation: DeviceOperation) -> Row:
    """A row of one augmentation, each tile with its own draw."""

    def act(tiles: Tiles) -> Tiles:
        images = torch.from_numpy(np.stack(tiles)).permute(0, 3, 1, 2).float() / 255
        numbers = [operation.draw(generator(3, "sheet", place)) for place in range(len(tiles))]
        changed = operation.apply(images, torch.from_numpy(np.stack(numbers)))
        return list((changed * 255).round().byte().permute(0, 2, 3, 1).numpy())

    return act


def normalised(way: str) -> Row:
    """A row of one normalisation: the slide's tiles by its one fit, patches each alone."""
    count = len(SLIDE_TILES)
    return lambda tiles: [*slide_tiles(way), *map(EachAlone(way), tiles[count:])]


def rows_of(patches: NDArray[np.uint8]) -> Mapping[str, Row]:
    """Label to what makes the row."""
    rows: dict[str, Row] = {"original": lambda tiles: tiles}
    for name in ("hed-light", "hed-strong"):
        rows[name] = drawn(StainJitter(StainSpec.model_validate(name)))
    for space in ("lab", "hsv", "hed"):
        fitted, _ = fit_statistics(patches, space)
        rows[f"statistics, {space}"] = drawn(StainStatistics(fitted))
    return rows | {way: normalised(way) for way in ("macenko", "reinhard")}


def sheet(rows: Mapping[str, Row], tiles: Tiles) -> Image.Image:
    """Draw all rows with their labels."""
    step = CELL_PX + GAP_PX
    page = Image.new("RGB", (LABEL_PX + step * len(tiles), step * len(rows)), "white")
    pen = ImageDraw.Draw(page)
    for line, (label, make) in enumerate(rows.items()):
        pen.text((6, line * step + CELL_PX // 2 - 8), label, fill="black", font_size=15)
        for column, tile in enumerate(make(tiles)):
            cell = cv2.resize(tile, (CELL_PX, CELL_PX), interpolation=cv2.INTER_CUBIC)
            page.paste(Image.fromarray(cell), (LABEL_PX + column * step, line * step))
    return page


if __name__ == "__main__":
    if not DATA.is_dir():
        raise SystemExit(f"no real test data at {DATA}")
    with h5py.File(DATA / "pcam" / "camelyonpatch_level_2_split_train_x.h5") as opened:
        stored = opened["x"][:]
    given = [*slide_tiles(), *(stored[place] for place in PATCHES)]
    sheet(rows_of(stored), given).save(HOUSE / "docs" / "stain.jpg", quality=82)
