"""One section: pieces of tissue on glass, each divided into regions of the classes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from histoscope.core.randomness import generator
from histoscope.domains.pathology.phantom.stains import LABORATORIES, Laboratory, level, record
from histoscope.domains.pathology.phantom.textures import (
    TEXTURES,
    Field,
    Mask,
    blur,
    smooth_noise,
    stretch,
)

CLASSES = tuple(sorted(TEXTURES))
GLASS = 0
SIZE_SPREAD = 0.12


@dataclass(frozen=True)
class Section:
    """A section and its truth.

    Attributes:
        pixels: RGB, uint8, (side, side, 3).
        truth: class id + 1, 0 on glass, uint8, (side, side).
    """

    pixels: NDArray[np.uint8]
    truth: NDArray[np.uint8]


def laboratory_of(case: int) -> Laboratory:
    """Cases come from the two laboratories in turn."""
    return LABORATORIES[case % len(LABORATORIES)]


def make_section(seed: int, case: int, side_px: int) -> Section:
    """The section of one case.

    Args:
        seed: of the phantom.
        case: number of the case.
        side_px: width and height, a multiple of 64.
    """
    rng = generator(seed, "phantom/section", case)
    tissue = _tissue(side_px, rng)
    regions = _regions(side_px, rng)
    stains = np.zeros((2, side_px, side_px))
    for number, name in enumerate(CLASSES):
        inside = (regions == number) & (tissue > 0)
        if not inside.any():
            continue
        nuclei, matrix = _texture(name, inside, generator(seed, f"phantom/{name}", case))
        ties = generator(seed, "phantom/ties", case, number)
        stains[:, inside] = level(nuclei, matrix, inside, ties)[:, inside]
    pixels = record(stains, tissue, laboratory_of(case), rng)
    truth = np.where(tissue > 0.5, regions + 1, GLASS).astype(np.uint8)
    return Section(pixels, truth)


def _texture(name: str, inside: Mask, rng: np.random.Generator) -> tuple[Field, Field]:
    """A class's texture where it is wanted, larger or smaller from section to section."""
    zoom = float(np.exp(rng.uniform(-SIZE_SPREAD, SIZE_SPREAD)))
    drawn = int(np.ceil(len(inside) / zoom))
    near = cv2.dilate(inside.astype(np.uint8), np.ones((49, 49), np.uint8))
    wanted = cv2.resize(near, (drawn, drawn), interpolation=cv2.INTER_NEAREST) > 0
    nuclei, matrix = TEXTURES[name](wanted, rng)
    return stretch(nuclei, len(inside)), stretch(matrix, len(inside))


def _tissue(side_px: int, rng: np.random.Generator) -> Field:
    """Two or three rounded pieces with a rough outline: 1 inside, 0 on glass, soft edge."""
    y, x = np.mgrid[:side_px, :side_px] / side_px
    rough = 0.02 * smooth_noise(side_px, 60, rng)
    inside = np.full((side_px, side_px), -1.0)
    for centre in ((0.29, 0.3), (0.71, 0.36), (0.45, 0.76)):
        cx, cy = np.array(centre) + rng.uniform(-0.03, 0.03, 2)
        radius = rng.uniform(0.25, 0.29)
        inside = np.maximum(inside, radius - np.hypot(x - cx, (y - cy) * 1.05) + rough)
    return blur((inside > 0).astype(float), 1.5)


def _regions(side_px: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Class of each pixel: cells of a wavy Voronoi diagram, every class equally often."""
    across = 4
    place = (np.arange(across) + 0.5) / across * side_px
    seeds = np.stack(np.meshgrid(place, place), axis=-1).reshape(-1, 2)
    seeds += rng.uniform(-0.25, 0.25, seeds.shape) * side_px / across
    owners = rng.permutation(np.resize(rng.permutation(len(CLASSES)), len(seeds)))
    y, x = np.mgrid[:side_px, :side_px].astype(float)
    x = x + 8 * smooth_noise(side_px, 50, rng)
    y = y + 8 * smooth_noise(side_px, 50, rng)
    best = np.full((side_px, side_px), np.inf)
    regions = np.zeros((side_px, side_px), dtype=np.int64)
    for (sx, sy), owner in zip(seeds, owners, strict=True):
        distance = (x - sx) ** 2 + (y - sy) ** 2
        closer = distance < best
        best[closer], regions[closer] = distance[closer], owner
    return regions
