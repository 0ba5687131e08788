"""What the camera sees in each phase: seven arrangements that one palette paints.

A scene is a relief, (height, width), whose values are replaced by one distribution that all scenes
share, so that neither brightness nor colour tells the phase. What differs is form: edges, tubes,
stipple, folds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from histoscope.domains.surgery.phases import PHASES

Relief = NDArray[np.float64]
Scene = Callable[[int, np.random.Generator], Relief]
LEVELS = 256


def noise(side_px: int, scale_px: float, rng: np.random.Generator) -> Relief:
    """Smooth Gaussian noise with a correlation length, unit deviation, (side, side)."""
    small = max(4, int(2 * side_px / scale_px))
    field = cv2.resize(
        rng.standard_normal((small, small)), (side_px, side_px), interpolation=cv2.INTER_CUBIC
    )
    return np.asarray((field - field.mean()) / field.std())


def _blank(side_px: int) -> Relief:
    return np.zeros((side_px, side_px))


def _points(side_px: int, spacing_px: float, rng: np.random.Generator) -> NDArray[np.float64]:
    place = np.arange(0, side_px + spacing_px, spacing_px)
    grid = np.stack(np.meshgrid(place, place), axis=-1).reshape(-1, 2)
    return np.asarray(grid + rng.uniform(-0.35, 0.35, grid.shape) * spacing_px)


def lobes(side_px: int, rng: np.random.Generator) -> Relief:
    """Large smooth lobes with sharp borders."""
    seeds = _points(side_px, 62, rng)
    y, x = np.mgrid[:side_px, :side_px]
    best, second = np.full((side_px, side_px), np.inf), np.full((side_px, side_px), np.inf)
    for sx, sy in seeds:
        distance = np.hypot(x - sx, y - sy)
        second = np.minimum(second, np.maximum(best, distance))
        best = np.minimum(best, distance)
    return np.asarray(np.minimum(second - best, 18.0))


def tubes(side_px: int, rng: np.random.Generator) -> Relief:
    """Long tubes that cross."""
    relief = _blank(side_px)
    for _ in range(side_px // 13):
        start, angle = rng.uniform(0, side_px, 2), rng.uniform(0, np.pi)
        bend = rng.normal(0, 0.012)
        steps = np.arange(-side_px, side_px, 4.0)
        turned = angle + bend * steps
        line = start + np.stack([np.cumsum(np.cos(turned)), np.cumsum(np.sin(turned))], 1) * 4
        line -= line[len(line) // 2] - start
        tube = _blank(side_px)
        points = np.round(line * 8).astype(np.int32)
        cv2.polylines(tube, [points], False, 1.0, int(rng.integers(5, 9)), cv2.LINE_8, 3)
        relief = np.maximum(relief, cv2.GaussianBlur(tube, (0, 0), 1.6) * rng.uniform(0.7, 1.0))
    return np.asarray(relief)


def clips(side_px: int, rng: np.random.Generator) -> Relief:
    """Short bars in pairs."""
    relief = _blank(side_px)
    for x, y in _points(side_px, 26, rng):
        angle = rng.uniform(0, np.pi)
        along = np.array([np.cos(angle), np.sin(angle)])
        across = np.array([-along[1], along[0]])
        for shift in (-3.0, 3.0):
            ends = np.array([x, y]) + across * shift + along * np.array([[-8.0], [8.0]])
            one, other = np.round(ends * 8).astype(int).tolist()
            cv2.line(relief, one, other, 1.0, 2, cv2.LINE_8, 3)
    return np.asarray(cv2.GaussianBlur(relief, (0, 0), 0.9))


def stipple(side_px: int, rng: np.random.Generator) -> Relief:
    """Fine grains."""
    relief = _blank(side_px)
    for x, y in _points(side_px, 7.5, rng):
        cv2.circle(relief, (round(x), round(y)), 2, float(rng.uniform(0.5, 1)), -1)
    return np.asarray(cv2.GaussianBlur(relief, (0, 0), 0.8))


def mesh(side_px: int, rng: np.random.Generator) -> Relief:
    """A net, as of a bag."""
    y, x = np.mgrid[:side_px, :side_px].astype(np.float64)
    x, y = x + 4 * noise(side_px, 60, rng), y + 4 * noise(side_px, 60, rng)
    turn = rng.uniform(0, np.pi / 2)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    return np.asarray(np.maximum(np.cos(2 * np.pi * u / 13), np.cos(2 * np.pi * v / 13)))


def drops(side_px: int, rng: np.random.Generator) -> Relief:
    """Rings, as of drops and bubbles."""
    relief = _blank(side_px)
    for x, y in _points(side_px, 19, rng):
        radius = int(rng.integers(5, 10))
        cv2.circle(relief, (round(x), round(y)), radius, float(rng.uniform(0.6, 1)), 2)
    return np.asarray(cv2.GaussianBlur(relief, (0, 0), 0.9))


def folds(side_px: int, rng: np.random.Generator) -> Relief:
    """Wavy parallel folds."""
    y, x = np.mgrid[:side_px, :side_px].astype(np.float64)
    turn = rng.uniform(0, np.pi)
    across = x * np.sin(turn) - y * np.cos(turn) + 9 * noise(side_px, 70, rng)
    return np.asarray(np.cos(2 * np.pi * across / 16))


SCENES: dict[str, Scene] = dict(
    zip(PHASES, (lobes, tubes, clips, stipple, mesh, drops, folds), strict=True)
)


def paint_scene(phase: str, side_px: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A scene as one of 256 levels a pixel, each level equally often, whatever the phase.

    Args:
        phase: which.
        side_px: width and height.
        rng: of this operation and phase.
    """
    relief = SCENES[phase](side_px, rng)
    mottled = relief + 0.35 * relief.std() * noise(side_px, 9, rng)
    mottled += 0.15 * relief.std() * rng.standard_normal(relief.shape)
    order = np.argsort(mottled, axis=None, kind="stable")
    ranks = np.empty(order.size, np.int64)
    ranks[order] = np.arange(order.size)
    return (ranks * LEVELS // order.size).reshape(relief.shape).astype(np.uint8)


def palette(rng: np.random.Generator) -> NDArray[np.uint8]:
    """RGB of each level for one operation: from dark red to pale flesh, with its own cast."""
    dark = np.array([92.0, 22.0, 20.0]) * rng.uniform(0.75, 1.25, 3)
    pale = np.array([214.0, 128.0, 104.0]) * rng.uniform(0.85, 1.1, 3)
    share = np.linspace(0, 1, LEVELS)[:, None] ** rng.uniform(0.8, 1.3)
    return np.clip(dark + (pale - dark) * share, 0, 255).astype(np.uint8)


def room(width_px: int, height_px: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """What a camera outside the body sees: grey and bluish blocks."""
    blocks: Any = rng.integers(90, 220, (4, 6))
    grey = cv2.resize(blocks.astype(np.float64), (width_px, height_px))
    tint = np.array([0.88, 1.0, 1.05]) * rng.uniform(0.95, 1.05, 3)
    return np.asarray(np.clip(grey[:, :, None] * tint, 0, 255), np.uint8)
