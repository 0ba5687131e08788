"""Tools as grey shafts from the edge of the picture, told apart by the form of their tips."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from histoscope.domains.surgery.phases import TOOLS

SHIFT, UNIT = 3, 8  # cv2 draws in eighths of a pixel


def draw_tool(
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
    pieces = _TIPS[tool]
    for start, end, width in pieces:
        _bar(picture, at(*start), at(*end), width * size, light if width < 0.3 else dark)


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


def _bar(
    picture: NDArray[np.uint8],
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    width: float,
    colour: tuple[int, int, int],
) -> None:
    one, other = (np.round(p * UNIT).astype(int).tolist() for p in (start, end))
    cv2.line(picture, one, other, colour, max(1, round(width)), cv2.LINE_8, SHIFT)
