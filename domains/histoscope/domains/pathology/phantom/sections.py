"""One section: pieces of tissue on glass, divided into regions of the classes, and its scan.

Amounts of stain become what the scanner of one laboratory records.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from histoscope.core.randomness import generator
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
# Moments of (haematoxylin, eosin) that every class is brought to, seen through a mean scanner.
MEAN = np.array([0.38, 0.42])
SPREAD = np.array([0.30, 0.17])
CORRELATION = -0.30
SEEN_BLUR_PX = 0.8


@dataclass(frozen=True)
class Laboratory:
    """Stains and scanner of one laboratory.

    Attributes:
        name: one letter.
        haematoxylin, eosin: optical density of red, green, blue at amount 1.
        blur_px: standard deviation of the scanner's point spread.
        noise: standard deviation of the sensor's noise, grey levels.
        glass: grey level of empty glass, red, green, blue.
    """

    name: str
    haematoxylin: tuple[float, float, float]
    eosin: tuple[float, float, float]
    blur_px: float
    noise: float
    glass: tuple[float, float, float]


LABORATORIES = (
    Laboratory("a", (0.62, 0.72, 0.31), (0.10, 0.83, 0.55), 0.55, 2.0, (243, 242, 244)),
    Laboratory("b", (0.72, 0.62, 0.25), (0.21, 0.90, 0.38), 0.80, 3.5, (236, 238, 234)),
)


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
    tissue = pieces(side_px, rng)
    regions = cells(side_px, 4, rng, _all_as_often)
    return painted(seed, case, tissue, regions, laboratory_of(case), rng)


def painted(
    seed: int,
    case: int,
    tissue: Field,
    regions: NDArray[np.int64],
    laboratory: Laboratory,
    rng: np.random.Generator,
) -> Section:
    """The section with these tissues in these places, stained and scanned.

    Args:
        seed, case: of the textures.
        tissue: 1 on tissue, 0 on glass, soft at the edge, (side, side).
        regions: class of each pixel, (side, side).
        laboratory: stains and scanner.
        rng: of stain and scan.
    """
    stains = np.zeros((2, *tissue.shape))
    for number, name in enumerate(CLASSES):
        inside = (regions == number) & (tissue > 0)
        if not inside.any():
            continue
        nuclei, matrix = _texture(name, inside, generator(seed, f"phantom/{name}", case))
        ties = generator(seed, "phantom/ties", case, number)
        stains[:, inside] = level(nuclei, matrix, inside, ties)[:, inside]
    pixels = record(stains, tissue, laboratory, rng)
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


def pieces(side_px: int, rng: np.random.Generator) -> Field:
    """Two or three rounded pieces with a rough outline: 1 inside, 0 on glass, soft edge."""
    y, x = np.mgrid[:side_px, :side_px] / side_px
    rough = 0.02 * smooth_noise(side_px, 60, rng)
    inside = np.full((side_px, side_px), -1.0)
    for centre in ((0.29, 0.3), (0.71, 0.36), (0.45, 0.76)):
        cx, cy = np.array(centre) + rng.uniform(-0.03, 0.03, 2)
        radius = rng.uniform(0.25, 0.29)
        inside = np.maximum(inside, radius - np.hypot(x - cx, (y - cy) * 1.05) + rough)
    return blur((inside > 0).astype(float), 1.5)


def _all_as_often(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rng.permutation(np.resize(rng.permutation(len(CLASSES)), count))


def cells(
    side_px: int,
    across: int,
    rng: np.random.Generator,
    owners_of: Callable[[int, np.random.Generator], NDArray[np.int64]],
) -> NDArray[np.int64]:
    """Class of each pixel, (side, side): cells of a wavy Voronoi diagram.

    Args:
        side_px: width and height.
        across: cells side by side.
        rng: of the section.
        owners_of: the class of each of so many cells.
    """
    place = (np.arange(across) + 0.5) / across * side_px
    seeds = np.stack(np.meshgrid(place, place), axis=-1).reshape(-1, 2)
    seeds += rng.uniform(-0.25, 0.25, seeds.shape) * side_px / across
    owners = owners_of(len(seeds), rng)
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


def level(nuclei: Field, matrix: Field, inside: Mask, rng: np.random.Generator) -> Field:
    """Amounts of both stains with the distribution that every class has.

    The order of a field's values is kept, the values are replaced: a quarter of the area is
    nucleus, the rest cytoplasm and stroma. Then mean, spread and correlation of the two stains
    are made equal between classes as they look through a scanner's blur, which takes more from
    fine textures than from coarse ones. What is left in colour is chance.

    Args:
        nuclei, matrix: a texture, (side, side).
        inside: where the class lies.
        rng: breaks ties, which flat parts would turn into one value.

    Returns:
        Haematoxylin and eosin, (2, side, side), at least 0.02.
    """
    shares = np.linspace(0, 1, 65)
    dark = 0.12 + 0.95 / (1 + np.exp(-(shares - 0.74) * 14))
    pink = 0.10 + 0.75 * shares**1.3
    stains = np.stack([_replace(nuclei, dark, inside, rng), _replace(matrix, pink, inside, rng)])
    seen = np.stack([blur(stain, SEEN_BLUR_PX)[inside] for stain in stains])
    wanted = np.outer(SPREAD, SPREAD) * np.array([[1, CORRELATION], [CORRELATION, 1]])
    turn = np.linalg.cholesky(wanted) @ np.linalg.inv(np.linalg.cholesky(np.cov(seen)))
    moved = stains - seen.mean(axis=1)[:, None, None]
    levelled = np.stack([turn[0, 0] * moved[0], turn[1, 0] * moved[0] + turn[1, 1] * moved[1]])
    return np.asarray(np.maximum(levelled + MEAN[:, None, None], 0.02))


def _replace(values: Field, quantiles: Field, inside: Mask, rng: np.random.Generator) -> Field:
    """Map values to a distribution given by its quantiles at evenly spaced shares.

    Outside, beyond what a blur can reach, 0.
    """
    reach = np.ones((15, 15), np.uint8)
    near = cv2.dilate(inside.astype(np.uint8), reach) > 0
    mottled = values + 0.08 * values[inside].std() * smooth_noise(len(values), 3, rng)
    shares = np.linspace(0, 1, 257)
    edges = np.quantile(mottled[inside][::7], shares)
    wanted = np.interp(shares, np.linspace(0, 1, len(quantiles)), quantiles)
    replaced = np.zeros(values.shape)
    replaced[near] = np.interp(mottled[near], edges, wanted)
    return replaced


def record(
    stains: Field, tissue: Field, laboratory: Laboratory, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Beer-Lambert: light falls off exponentially with the amount of stain in its way.

    Strength and balance of the stains differ from section to section and drift within it; so do
    focus and brightness. None of it depends on the class.

    Args:
        stains: amounts of haematoxylin and eosin, (2, side, side), about 0 to 1.
        tissue: 1 on tissue, 0 on glass, soft at the edge, (side, side).
        laboratory: stains and scanner.
        rng: of this section.

    Returns:
        RGB, uint8, (side, side, 3).
    """
    side = len(tissue)
    drift = np.stack([np.exp(0.10 * smooth_noise(side, 160, rng)) for _ in stains])
    amounts = stains * drift * tissue * rng.uniform(0.75, 1.25, (2, 1, 1))
    vectors = np.array([laboratory.haematoxylin, laboratory.eosin])
    light = np.array(laboratory.glass) * np.exp(-np.moveaxis(amounts, 0, -1) @ vectors)
    light = blur(light, laboratory.blur_px * rng.uniform(0.8, 1.2))
    light = light * rng.uniform(0.94, 1.02) + rng.normal(0, laboratory.noise, light.shape)
    return np.clip(np.round(light), 0, 255).astype(np.uint8)
