"""Frames of one operation, one after another, as RGB pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from histoscope.core.randomness import generator
from histoscope.domains.surgery.phantom.instruments import draw_tool
from histoscope.domains.surgery.phantom.scenes import paint_scene, palette, room
from histoscope.domains.surgery.phantom.script import Script, wander
from histoscope.domains.surgery.phases import PHASES, TOOLS

CANVAS_PX = 320
SENSOR_NOISE = 2.5
NOISE_FRAMES = 16  # drawn once; frames take them in a drawn order
FIELD_MARGIN = 0.04


@dataclass(frozen=True)
class _Look:
    """What stays the same over an operation: colours, scenes, where tools come in, the field."""

    colours: NDArray[np.uint8]
    scenes: list[NDArray[np.uint8]]
    sides: NDArray[np.float64]
    field: NDArray[np.bool_]
    light: NDArray[np.float64]


def film(
    seed: int, operation: int, script: Script, size: tuple[int, int], fps: float
) -> Iterator[NDArray[np.uint8]]:
    """Frames of an operation, uint8 (height, width, 3).

    Args:
        seed, operation: name it.
        script: what happens.
        size: width and height.
        fps: frames a second.
    """
    rng = generator(seed, "surgery/camera", operation)
    look = _look(seed, operation, size, rng)
    frames = len(script.phases)
    path = np.stack([wander(frames, fps, 70.0, rng) for _ in range(2)], axis=1)
    turn, zoom = wander(frames, fps, 25.0, rng), np.exp(wander(frames, fps, 0.12, rng))
    sway = np.stack(
        [[wander(frames, fps, 0.10, rng) for _ in range(3)] for _ in TOOLS]
    )  # (tools, 3, frames)
    wall = room(*size, rng)
    bank = rng.normal(0, SENSOR_NOISE, (NOISE_FRAMES, size[1], size[0], 3))
    noisy = rng.integers(NOISE_FRAMES, size=frames)
    before = np.zeros((size[1], size[0], 3), np.uint8)
    for frame in range(frames):
        if script.black[frame]:
            picture = np.zeros_like(before)
        elif script.frozen[frame]:
            picture = before
        else:
            if script.outside[frame]:
                picture = wall.copy()
            else:
                view = (path[frame], float(turn[frame]), float(zoom[frame]))
                picture = _scene(look, int(script.phases[frame]), view, size)
                for tool in np.flatnonzero(script.tools[frame]):
                    _put(picture, look, int(tool), sway[tool, :, frame], size)
                picture[~look.field] = 0
            lit = picture * look.light[..., None] + bank[noisy[frame]]
            picture = np.clip(lit, 0, 255).astype(np.uint8)
        before = picture
        yield picture


def _look(seed: int, operation: int, size: tuple[int, int], rng: np.random.Generator) -> _Look:
    width, height = size
    scenes = [
        paint_scene(phase, CANVAS_PX, generator(seed, f"surgery/{phase}", operation))
        for phase in PHASES
    ]
    y, x = np.mgrid[:height, :width]
    centre = np.array([width / 2, height / 2]) + rng.uniform(-3, 3, 2)
    radius = (0.5 - FIELD_MARGIN) * height * rng.uniform(1.05, 1.5)
    far = np.hypot(x - centre[0], y - centre[1])
    light = rng.uniform(0.8, 1.05) * (1 - 0.35 * (far / radius).clip(0, 1) ** 2)
    return _Look(palette(rng), scenes, rng.uniform(0, 2 * np.pi, len(TOOLS)), far < radius, light)


def _scene(
    look: _Look, phase: int, view: tuple[NDArray[np.float64], float, float], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """The part of a scene that the camera looks at, painted."""
    (shift_x, shift_y), turn, zoom = view
    middle = CANVAS_PX / 2
    matrix = cv2.getRotationMatrix2D((middle + shift_x, middle + shift_y), turn, zoom)
    matrix[:, 2] += np.array(size) / 2 - (middle + shift_x, middle + shift_y)
    seen = cv2.warpAffine(look.scenes[phase], matrix, size, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(look.colours[seen], np.uint8)


def _put(
    picture: NDArray[np.uint8],
    look: _Look,
    tool: int,
    sway: NDArray[np.float64],
    size: tuple[int, int],
) -> None:
    """A tool comes in from its side and points near the middle."""
    width, height = size
    angle = look.sides[tool] + 3 * sway[2]
    tip = (
        width * (0.5 - 0.12 * np.cos(angle) + sway[0]),
        height * (0.5 - 0.12 * np.sin(angle) + sway[1]),
    )
    draw_tool(picture, TOOLS[tool], tip, float(angle), height * 0.11)
