"""Arrangements of nuclei and matrix: what tells the phantom's classes apart, apart from colour.

Each texture is a pair of fields over the canvas, (side, side), float32: ``nuclei``, high where
haematoxylin binds, and ``matrix``, high where eosin binds. Only their spatial order matters:
both are mapped to the same distribution of values afterwards (:func:`equalise`). A texture
takes the mask of where it is wanted, (side, side), and need not be right elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]
Texture = Callable[[Mask, np.random.Generator], tuple[Field, Field]]


def smooth_noise(side: int, scale_px: float, rng: np.random.Generator) -> Field:
    """Gaussian noise with a correlation length, zero mean, unit deviation."""
    small = max(4, int(side / scale_px * 2))
    coarse = rng.standard_normal((small, small)).astype(np.float32)
    field = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray((field - field.mean()) / field.std(), dtype=np.float32)


def _scattered(side: int, spacing_px: float, jitter: float, rng: np.random.Generator) -> Field:
    """Points of a jittered grid, (points, 2), x and y in pixels."""
    place = np.arange(-spacing_px, side + spacing_px, spacing_px)
    grid = np.stack(np.meshgrid(place, place), axis=-1).reshape(-1, 2)
    moved = grid + rng.uniform(-jitter, jitter, grid.shape) * spacing_px
    return moved.astype(np.float32)


def _stamp(
    inside: Mask,
    points: Field,
    long_px: Field,
    wide_px: Field,
    angle: Field,
    rng: np.random.Generator,
) -> Field:
    """Draw one soft ellipse a point where it is wanted, of varying darkness."""
    canvas = np.zeros(inside.shape, dtype=np.float32)
    kept = _at(inside, points)
    points, long_px, wide_px, angle = (part[kept] for part in (points, long_px, wide_px, angle))
    darkness = rng.uniform(0.65, 1.0, len(points))
    shift, unit = 3, 8  # cv2 draws in fractions of a pixel
    for (x, y), a, b, turn, dark in zip(points, long_px, wide_px, angle, darkness, strict=True):
        axes = (max(1, int(a * unit / 2)), max(1, int(b * unit / 2)))
        centre = (int(x * unit), int(y * unit))
        cv2.ellipse(canvas, centre, axes, float(turn), 0, 360, float(dark), -1, cv2.LINE_8, shift)
    return cv2.GaussianBlur(canvas, (0, 0), 0.8)


def _at(field: NDArray[Any], points: Field) -> NDArray[Any]:
    """Values of a field at points."""
    limit = len(field) - 1
    place = np.clip(np.round(points).astype(int), 0, limit)
    return field[place[:, 1], place[:, 0]]


def _sizes(points: Field, mean_px: float, spread: float, rng: np.random.Generator) -> Field:
    return np.asarray(mean_px * np.exp(rng.normal(0, spread, len(points))), dtype=np.float32)


def lymphoid(inside: Mask, rng: np.random.Generator) -> tuple[Field, Field]:
    """Sheets of small, round, evenly sized nuclei."""
    side = len(inside)
    points = _scattered(side, 8.5, 0.42, rng)
    size = _sizes(points, 5.6, 0.12, rng)
    nuclei = _stamp(inside, points, size, size * 0.92, rng.uniform(0, 180, len(points)), rng)
    return nuclei, smooth_noise(side, 9, rng) - nuclei


def solid(inside: Mask, rng: np.random.Generator) -> tuple[Field, Field]:
    """Nests of large, uneven nuclei, crowded here and loose there."""
    side = len(inside)
    points = _scattered(side, 11, 0.5, rng)
    crowd = smooth_noise(side, 30, rng)
    points = points[_at(crowd, points) > rng.normal(-0.4, 0.5, len(points))]
    size = _sizes(points, 9.5, 0.28, rng)
    wide = size * rng.uniform(0.6, 1, len(points))
    nuclei = _stamp(inside, points, size, wide, rng.uniform(0, 180, len(points)), rng)
    return nuclei, 0.8 * crowd - nuclei


def glands(inside: Mask, rng: np.random.Generator) -> tuple[Field, Field]:
    """Rings of nuclei around a lumen."""
    side = len(inside)
    centres = _scattered(side, 34, 0.22, rng)
    radius = _sizes(centres, 12.5, 0.16, rng)
    count = np.maximum(7, (2 * np.pi * radius / 6.5).astype(int))
    owner = np.repeat(np.arange(len(centres)), count)
    place = np.concatenate([np.arange(n) / n for n in count]) * 2 * np.pi
    squeeze = rng.uniform(0.75, 1.0, len(centres))[owner]
    ring = np.stack([np.cos(place), np.sin(place) * squeeze], axis=1) * radius[owner, None]
    points = (centres[owner] + ring + rng.normal(0, 0.6, ring.shape)).astype(np.float32)
    size = _sizes(points, 6.2, 0.12, rng)
    nuclei = _stamp(inside, points, size * 1.25, size * 0.8, np.degrees(place), rng)
    lumen = _stamp(inside, centres, radius * 1.05, radius * 1.05 * 0.85, 0 * radius, rng)
    return nuclei, smooth_noise(side, 8, rng) * 0.5 - nuclei - 2.0 * lumen


def _direction(side: int, scale_px: float, turns: float, rng: np.random.Generator) -> Field:
    """A smooth field of directions, in degrees."""
    return rng.uniform(0, 180) + turns * 180 * smooth_noise(side, scale_px, rng)


def stroma(inside: Mask, rng: np.random.Generator) -> tuple[Field, Field]:
    """Wavy bundles of fibres with thin nuclei along them."""
    side = len(inside)
    direction = _direction(side, 110, 0.22, rng)
    points = _scattered(side, 10.5, 0.5, rng)
    size = _sizes(points, 12, 0.22, rng)
    nuclei = _stamp(inside, points, size, size * 0.27, _at(direction, points), rng)
    return nuclei, _fibres(inside, direction, rng) - 0.5 * nuclei


def _fibres(inside: Mask, direction: Field, rng: np.random.Generator) -> Field:
    """Short strokes along a direction field."""
    side = len(inside)
    points = _scattered(side, 5.0, 0.5, rng)
    size = _sizes(points, 22, 0.2, rng)
    strokes = _stamp(inside, points, size, 0 * size + 2.0, _at(direction, points), rng)
    return 2.0 * strokes + 0.3 * smooth_noise(side, 5, rng)


def muscle(inside: Mask, rng: np.random.Generator) -> tuple[Field, Field]:
    """Straight bands, side by side, nuclei between them."""
    side = len(inside)
    turn = rng.uniform(0, np.pi)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    across = x * np.sin(turn) - y * np.cos(turn) + 3.0 * smooth_noise(side, 90, rng)
    wave = 11.0 * (1 + 0.12 * float(rng.standard_normal()))
    bands = np.cos(2 * np.pi * across / wave).astype(np.float32)
    points = _scattered(side, 9.0, 0.5, rng)
    points = points[_at(bands, points) < -0.3]
    size = _sizes(points, 11, 0.2, rng)
    along = np.full(len(points), np.degrees(turn), dtype=np.float32)
    nuclei = _stamp(inside, points, size, size * 0.42, along, rng)
    return nuclei, bands + 0.4 * smooth_noise(side, 4, rng) - nuclei


def foamy(inside: Mask, rng: np.random.Generator) -> tuple[Field, Field]:
    """Round vacuoles with thin walls, nuclei pressed against them."""
    side = len(inside)
    centres = _scattered(side, 17, 0.3, rng)
    size = _sizes(centres, 15, 0.18, rng)
    holes = _stamp(inside, centres, size, size * 0.9, rng.uniform(0, 180, len(centres)), rng)
    angle = rng.uniform(0, 2 * np.pi, len(centres))
    rim = np.stack([np.cos(angle), np.sin(angle)], axis=1) * (size[:, None] / 2)
    points = (centres + rim).astype(np.float32)
    wide = _sizes(points, 7.5, 0.15, rng)
    nuclei = _stamp(inside, points, wide, wide * 0.55, np.degrees(angle) + 90, rng)
    return nuclei, 0.4 * smooth_noise(side, 6, rng) - 2.0 * holes - nuclei


TEXTURES: dict[str, Texture] = {
    "foamy": foamy,
    "glands": glands,
    "lymphoid": lymphoid,
    "muscle": muscle,
    "solid": solid,
    "stroma": stroma,
}


def equalise(values: Field, quantiles: Field, rng: np.random.Generator) -> Field:
    """Map values to the distribution whose quantile function is given, keeping their order.

    Args:
        values: of one class's pixels, (pixels,).
        quantiles: values at evenly spaced shares from 0 to 1, (points,).
        rng: breaks ties, which flat parts would otherwise turn into one value.
    """
    ties = rng.normal(0, 0.08 * values.std(), values.shape).astype(np.float32)
    dithered = values + ties
    edges = np.quantile(dithered[::7], np.linspace(0, 1, 257))
    share = np.interp(dithered, edges, np.linspace(0, 1, 257))
    return np.interp(share, np.linspace(0, 1, len(quantiles)), quantiles).astype(np.float32)
