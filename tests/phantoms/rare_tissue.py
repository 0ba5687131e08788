"""Slides of which half hold a little of a rare tissue, painted, so that it is known where.

Common tissues come in amounts of each case's own, stains and scanner are each case's own. Of slides
of every other case 1 to 4 % of the tiles hold the rare tissue, in one piece; a tile holds it where
a quarter of it is painted so. Every fifth case has two slides.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from histoscope.core.randomness import generator
from histoscope.domains.pathology.phantom.sections import (
    CLASSES,
    LABORATORIES,
    Laboratory,
    Section,
    cells,
    painted,
    pieces,
)
from histoscope.domains.pathology.phantom.slides import THREADS, TILE_PX, write_slide
from histoscope.domains.pathology.phantom.textures import Field, Mask, smooth_noise

RARE = "lymphoid"
LABELS = ("without", "with")
SHARES = (0.01, 0.04)  # of tiles that hold the rare tissue, least and most
HELD, TISSUE = 0.5, 0.3  # of a tile that is painted so: then it holds the rare tissue; is read
STRENGTH = 0.1  # deviation of the logarithm of each stain's strength from case to case
NUMBER = CLASSES.index(RARE)
COMMON = np.array([number for number, name in enumerate(CLASSES) if name != RARE])


@dataclass(frozen=True)
class Slide:
    """One slide of a case."""

    case: int
    number: int

    @property
    def name(self) -> str:
        """Of its file, without the suffix."""
        return f"case-{self.case:03d}_{self.number}"

    @property
    def label(self) -> str:
        """Whether it holds the rare tissue; every other case does."""
        return LABELS[self.case % 2]


def slides_of(cases: range) -> list[Slide]:
    """One or two slides a case."""
    return [Slide(case, number) for case in cases for number in range(2 if case % 5 == 4 else 1)]


def paint(seed: int, slide: Slide, side_px: int, stained: float = 1.0) -> Section:
    """A slide and its truth, class id + 1.

    Args:
        seed: of everything.
        slide: which.
        side_px: width and height, a multiple of 64.
        stained: how much more stain the rare tissue takes; at 1 its colour tells next to nothing.
    """
    of_case = generator(seed, "rare/case", slide.case)
    amounts = of_case.dirichlet(np.ones(len(COMMON)))
    laboratory = _laboratory(of_case)
    rng = generator(seed, "rare/slide", slide.case, slide.number)
    tissue = pieces(side_px, rng)
    regions = cells(side_px, 6, rng, lambda count, own: own.choice(COMMON, count, p=amounts))
    if slide.label == "with":
        regions[_focus(tissue > 0.5, rng)] = NUMBER
    section = painted(seed, 2 * slide.case + slide.number, tissue, regions, laboratory, rng)
    if stained != 1:
        rare, glass = section.truth == NUMBER + 1, np.array(laboratory.glass)
        light = np.minimum(section.pixels[rare] / glass, 1)
        section.pixels[rare] = np.rint(glass * light**stained)
    return section


def _laboratory(rng: np.random.Generator) -> Laboratory:
    """Between the two known ones, its stains stronger or weaker."""
    share, strong = rng.uniform(), np.exp(rng.normal(0, STRENGTH, 2))
    first, second = LABORATORIES

    def between(one: object, other: object, times: float = 1.0) -> NDArray[np.float64]:
        return times * ((1 - share) * np.asarray(one) + share * np.asarray(other))

    return Laboratory(
        "between",
        tuple(between(first.haematoxylin, second.haematoxylin, strong[0]).tolist()),
        tuple(between(first.eosin, second.eosin, strong[1]).tolist()),
        float(between(first.blur_px, second.blur_px)),
        float(between(first.noise, second.noise)),
        tuple(between(first.glass, second.glass).tolist()),
    )


def _focus(tissue: Mask, rng: np.random.Generator) -> Mask:
    """A rounded piece inside the tissue, drawn until so few tiles hold it."""
    side = len(tissue)
    y, x = np.mgrid[:side, :side].astype(np.float64)
    rough = 6 * smooth_noise(side, 60, rng)
    read = shares_of(tissue) >= TISSUE
    while True:
        row, column = rng.uniform(0, side, 2)
        radius = rng.uniform(30, 110)
        piece = (np.hypot(x - column, y - row) + rough < radius) & tissue
        held = ((shares_of(piece) >= HELD) & read).sum() / read.sum()
        if SHARES[0] <= held <= SHARES[1]:
            return piece


def shares_of(mask: Mask) -> Field:
    """Which part of each tile of a grid without gaps is painted, (tiles down, tiles across)."""
    count = len(mask) // TILE_PX
    cut = mask[: count * TILE_PX, : count * TILE_PX].reshape(count, TILE_PX, count, TILE_PX)
    return np.asarray(cut.mean(axis=(1, 3)), np.float64)


def write_phantom(
    out: Path,
    cases: Mapping[str, range],
    seed: int = 0,
    side_px: int = 1024,
    stained: float = 1.0,
) -> None:
    """Write ``slides``, ``truth`` and a table ``slides.csv`` of slide, case, split and label.

    Args:
        out: folder.
        cases: of each split.
        seed, side_px, stained: see :func:`paint`.
    """
    told = [(part, slide) for part, some in cases.items() for slide in slides_of(some)]
    for name in ("slides", "truth"):
        (out / name).mkdir(parents=True, exist_ok=True)

    def write(slide: Slide) -> None:
        section = paint(seed, slide, side_px, stained)
        write_slide(out / "slides" / f"{slide.name}.tif", section.pixels)
        cv2.imwrite(str(out / "truth" / f"{slide.name}.png"), section.truth)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(write, [slide for _, slide in told]))
    with (out / "slides.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("slide", "case", "split", "label"))
        rows.writerows((s.name, f"case-{s.case:03d}", part, s.label) for part, s in told)


def holds_rare(truth: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which tiles of a grid hold the rare tissue, (tiles down, tiles across)."""
    return np.asarray(shares_of(truth == NUMBER + 1) >= HELD)
