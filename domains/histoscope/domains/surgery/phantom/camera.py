"""Frames of one operation, one after another, as RGB pictures.

Tools are grey shafts from the edge of the picture, told apart by the form of their tips.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from histoscope.core.randomness import generator
from histoscope.domains.surgery.phantom.scenes import paint_scene, palette, room
from histoscope.domains.surgery.phantom.script import Script, wander
from histoscope.domains.surgery.phases import PHASES, TOOLS

CANVAS_PX = 320
SENSOR_NOISE = 2.5
NOISE_FRAMES = 16  # drawn once; frames take them in a drawn order
FIELD_MARGIN = 0.04
SHIFT, UNIT = 3, 8  # cv2 draws in eighths of a pixel
_Piece = tuple[tuple[float, float], tuple[float, float], float]
_TIPS: dict[str, tuple[_Piece, ...]] = {
    "Grasper": (((-1, 0), (0.6, 0.5), 0.28), ((-1, 0), (0.6, -0.5), 0.28)),
    "Bipolar": (((-1, 0.22), (0.6, 0.22), 0.2), ((-1, -0.22), (0.6, -0.22), 0.2)),
    "Hook": (((-1, 0), (0.5, 0), 0.2), ((0.5, 0), (0.5, 0.7), 0.2)),
    "Scissors": (((-1, -0.3), (0.7, 0.4), 0.2), ((-1, 0.3), (0.7, -0.4), 0.2)),
    "Clipper": (((-1, 0), (0.2, 0), 0.8), ((0.2, -0.4), (0.2, 0.4), 0.28)),
    "Irrigator": (((-1, 0), (0.8, 0), 0.45), ((-0.6, 0), (0.6, 0), 0.12)),
}
assert set(_TIPS) | {"SpecimenBag"} == set(TOOLS)


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
    _draw_tool(picture, TOOLS[tool], tip, float(angle), height * 0.11)


def _draw_tool(
    picture: NDArray[np.uint8], tool: str, tip: tuple[float, float], angle: float, size: float
) -> None:
    """Draw one tool into a picture, in place.

    Args:
        picture: (height, width, 3).
        tool: one of the seven.
        tip: x and y of its tip, px.
        angle: direction in which it points, radians.
        size: length of the tip, px.
    """
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])

    def at(forward: float, sideways: float) -> NDArray[np.float64]:
        return np.asarray(np.array(tip) + along * forward * size + across * sideways * size)

    grey, light, dark = (128, 130, 134), (186, 188, 192), (70, 72, 76)
    if tool == "SpecimenBag":
        for radius, colour in ((2.1, light), (1.5, grey)):
            centre = np.round(at(-0.4, 0) * UNIT).astype(int).tolist()
            axes = (int(radius * size * UNIT), int(0.6 * radius * size * UNIT))
            turn = float(np.degrees(angle))
            cv2.ellipse(picture, centre, axes, turn, 0, 360, colour, 2, cv2.LINE_8, SHIFT)
        return
    _bar(picture, at(-14, 0), at(-1, 0), 0.62 * size, grey)
    _bar(picture, at(-14, 0.12), at(-1, 0.12), 0.16 * size, light)
    for start, end, width in _TIPS[tool]:
        _bar(picture, at(*start), at(*end), width * size, light if width < 0.3 else dark)


def _bar(
    picture: NDArray[np.uint8],
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    width: float,
    colour: tuple[int, int, int],
) -> None:
    one, other = (np.round(p * UNIT).astype(int).tolist() for p in (start, end))
    cv2.line(picture, one, other, colour, max(1, round(width)), cv2.LINE_8, SHIFT)
