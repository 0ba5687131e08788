"""Arrangements of nuclei and matrix: what tells the phantom's classes apart, apart from colour.

Each texture is a pair of fields over the canvas, (side, side): ``nuclei``, high where haematoxylin
binds, and ``matrix``, high where eosin binds. Only their spatial order matters: both get the same
distribution of values in every class afterwards (``sections.level``), so each texture puts nuclei
on some 30 % of its area. One pixel is one micrometre. A texture takes the mask of where it is
wanted, (side, side), and need not be right elsewhere.

All is float64: results that differ in the last bit between processors then round to equal pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float64]
Mask = NDArray[np.bool_]
Texture = Callable[[Mask, np.random.Generator], tuple[Field, Field]]


def smooth_noise(side_px: int, scale_px: float, rng: np.random.Generator) -> Field:
    """Gaussian noise with a correlation length, zero mean, unit deviation, (side, side)."""
    small = max(4, int(side_px / scale_px * 2))
    field = stretch(rng.standard_normal((small, small)), side_px, cv2.INTER_CUBIC)
    return np.asarray((field - field.mean()) / field.std())


def stretch(field: Field, side_px: int, how: int = cv2.INTER_LINEAR) -> Field:
    """Resample a square field to another side, by one of cv2's interpolations."""
    return np.asarray(cv2.resize(field, (side_px, side_px), interpolation=how), np.float64)


def blur(field: Field, deviation_px: float) -> Field:
    """Gaussian blur of a field, (side, side) or (side, side, channels)."""
    return np.asarray(cv2.GaussianBlur(field, (0, 0), deviation_px), np.float64)


def lymphoid(inside: Mask, rng: np.random.Generator) -> tuple[Field, Field]:
    """Sheets of small, round, evenly sized nuclei."""
    side = len(inside)
    points = _scattered(side, 6.4, 0.36, rng)
    size = _sizes(points, 4.5, 0.10, rng)
    nuclei = _stamp(inside, points, size, 0.92 * size, rng.uniform(0, 180, len(points)), rng)
    return nuclei, 0.4 * smooth_noise(side, 5, rng) - nuclei


def solid(inside: Mask, rng: np.random.Generator) -> tuple[Field, Field]:
    """Large nuclei of uneven size and shape, each in its own cytoplasm."""
    side = len(inside)
    points = _scattered(side, 18, 0.34, rng)
    size = _sizes(points, 13.5, 0.18, rng)
    wide = size * rng.uniform(0.65, 1, len(points))
    nuclei = _stamp(inside, points, size, wide, rng.uniform(0, 180, len(points)), rng)
    return nuclei, 0.5 * smooth_noise(side, 20, rng) - nuclei


def glands(inside: Mask, rng: np.random.Generator) -> tuple[Field, Field]:
    """Rings of nuclei around a lumen."""
    side = len(inside)
    centres = _scattered(side, 33, 0.16, rng)
    radius = _sizes(centres, 12.5, 0.12, rng)
    count = np.maximum(7, (2 * np.pi * radius / 6.3).astype(int))
    owner = np.repeat(np.arange(len(centres)), count)
    place = np.concatenate([np.arange(n) / n for n in count]) * 2 * np.pi
    squeeze = rng.uniform(0.8, 1.0, len(centres))[owner]
    ring = np.stack([np.cos(place), np.sin(place) * squeeze], axis=1) * radius[owner, None]
    points = centres[owner] + ring + rng.normal(0, 0.5, ring.shape)
    size = _sizes(points, 6.2, 0.1, rng)
    nuclei = _stamp(inside, points, 1.25 * size, 0.8 * size, np.degrees(place), rng)
    lumen = _stamp(inside, centres, 1.15 * radius, 0.95 * radius, 0 * radius, rng)
    return nuclei, 0.4 * smooth_noise(side, 8, rng) - nuclei - 2.0 * lumen


def stroma(inside: Mask, rng: np.random.Generator) -> tuple[Field, Field]:
    """Wavy bundles of thin fibres with spindle nuclei along them."""
    side = len(inside)
    direction = rng.uniform(0, 180) + 36 * smooth_noise(side, 110, rng)
    points = _scattered(side, 12.0, 0.5, rng)
    size = _sizes(points, 17, 0.2, rng)
    nuclei = _stamp(inside, points, size, 0.25 * size, _at(direction, points), rng)
    ends = _scattered(side, 6.5, 0.5, rng)
    long = _sizes(ends, 28, 0.2, rng)
    fibres = _stamp(inside, ends, long, 0 * long + 3.0, _at(direction, ends), rng)
    return nuclei, 2.0 * fibres + 0.3 * smooth_noise(side, 5, rng) - 0.5 * nuclei


def muscle(inside: Mask, rng: np.random.Generator) -> tuple[Field, Field]:
    """Straight, broad bands side by side, blunt nuclei between them."""
    side = len(inside)
    turn = rng.uniform(0, np.pi)
    y, x = np.mgrid[:side, :side].astype(np.float64)
    across = x * np.sin(turn) - y * np.cos(turn) + 3.0 * smooth_noise(side, 90, rng)
    bands = np.cos(2 * np.pi * across / 12.5)
    points = _scattered(side, 8.5, 0.5, rng)
    points = points[_at(bands, points) < -0.4]
    size = _sizes(points, 13, 0.2, rng)
    along = np.full(len(points), np.degrees(turn))
    nuclei = _stamp(inside, points, size, 0.4 * size, along, rng)
    return nuclei, bands + 0.3 * smooth_noise(side, 4, rng) - nuclei


def nests(inside: Mask, rng: np.random.Generator) -> tuple[Field, Field]:
    """Islands of small, crowded nuclei in smooth matrix."""
    side = len(inside)
    centres = _scattered(side, 44, 0.15, rng)
    across = _sizes(centres, 34, 0.1, rng)
    turned = rng.uniform(0, 180, len(centres))
    islands = _stamp(inside, centres, across, 0.85 * across, turned, rng)
    points = _scattered(side, 5.8, 0.4, rng)
    points = points[_at(islands, points) > 0.3]
    size = _sizes(points, 5.8, 0.1, rng)
    nuclei = _stamp(inside, points, size, 0.9 * size, rng.uniform(0, 180, len(points)), rng)
    return nuclei, 0.3 * smooth_noise(side, 20, rng) - 1.2 * islands - nuclei


TEXTURES: dict[str, Texture] = {
    "glands": glands,
    "lymphoid": lymphoid,
    "muscle": muscle,
    "nests": nests,
    "solid": solid,
    "stroma": stroma,
}


def _scattered(side_px: int, spacing_px: float, jitter: float, rng: np.random.Generator) -> Field:
    """Points of a jittered grid, (points, 2), x and y in pixels."""
    place = np.arange(-spacing_px, side_px + spacing_px, spacing_px)
    grid = np.stack(np.meshgrid(place, place), axis=-1).reshape(-1, 2)
    return np.asarray(grid + rng.uniform(-jitter, jitter, grid.shape) * spacing_px)


def _sizes(points: Field, mean_px: float, spread: float, rng: np.random.Generator) -> Field:
    """One log-normal length a point, in pixels."""
    return np.asarray(mean_px * np.exp(rng.normal(0, spread, len(points))))


def _at(field: NDArray[Any], points: Field) -> NDArray[Any]:
    """Values of a field at points."""
    place = np.clip(np.round(points).astype(int), 0, len(field) - 1)
    return np.asarray(field[place[:, 1], place[:, 0]])


def _stamp(
    inside: Mask, points: Field, long_px: Field, wide_px: Field, angle: Field, rng: Any
) -> Field:
    """Draw one soft ellipse a point where it is wanted, of varying darkness.

    Args:
        inside: where it is wanted, (side, side).
        points: centres, (points, 2).
        long_px, wide_px: diameters, (points,).
        angle: of the long diameter, degrees, (points,).
        rng: a generator.
    """
    canvas = np.zeros(inside.shape)
    kept = _at(inside, points)
    darkness = rng.uniform(0.65, 1.0, len(points))
    shift, unit = 3, 8  # cv2 draws in eighths of a pixel
    axes = np.maximum(1, np.stack([long_px, wide_px], axis=1) * unit / 2).astype(int)
    centres = np.round(points * unit).astype(int)
    turns = np.round(angle).astype(int)
    drawn = zip(centres[kept], axes[kept], turns[kept], darkness[kept], strict=True)
    for centre, half, turn, dark in drawn:
        cv2.ellipse(canvas, centre.tolist(), half.tolist(), int(turn), 0, 360, dark, -1, 8, shift)
    return blur(canvas, 0.8)
