"""What happens in one operation: phases, tools, camera, and what goes wrong with the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histoscope.core.randomness import generator
from histoscope.domains.surgery.phases import PHASES, TOOLS

# Chance of a tool in each phase (columns as TOOLS): alike enough that tools do not name the phase.
USE = np.array(
    [
        (0.45, 0.04, 0.10, 0.02, 0.02, 0.06, 0.01),
        (0.60, 0.08, 0.50, 0.03, 0.03, 0.06, 0.01),
        (0.55, 0.05, 0.15, 0.18, 0.30, 0.06, 0.01),
        (0.60, 0.08, 0.50, 0.04, 0.03, 0.08, 0.01),
        (0.50, 0.05, 0.08, 0.02, 0.02, 0.08, 0.40),
        (0.45, 0.20, 0.10, 0.02, 0.02, 0.35, 0.12),
        (0.45, 0.05, 0.06, 0.02, 0.02, 0.08, 0.35),
    ]
)
SHARES = np.array([0.10, 0.26, 0.12, 0.24, 0.10, 0.10, 0.08])
SKIPS_CLEANING = 0.2
CHANGE_S = 12.0  # a tool stays in or out about this long
OUTSIDE_S, BLACK_S, FROZEN_S = 6.0, 1.0, 2.0


@dataclass(frozen=True)
class Script:
    """One operation, frame by frame.

    Attributes:
        phases: id of each frame's phase, (frames,).
        tools: which are in the picture, (frames, tools).
        outside, black, frozen: frames that show the room, nothing, or the frame before.
    """

    phases: NDArray[np.int64]
    tools: NDArray[np.bool_]
    outside: NDArray[np.bool_]
    black: NDArray[np.bool_]
    frozen: NDArray[np.bool_]


def write_script(seed: int, operation: int, frames: int, fps: float) -> Script:
    """Draw an operation's course.

    Args:
        seed: of the phantom.
        operation: its number.
        frames: how many.
        fps: frames a second.
    """
    rng = generator(seed, "surgery/script", operation)
    phases = _phases(frames, rng)
    tools = np.stack([_in_and_out(USE[phases, t], fps, rng) for t in range(len(TOOLS))], axis=1)
    outside, black, frozen = (np.zeros(frames, np.bool_) for _ in range(3))
    black[: round(BLACK_S * fps)] = True
    for marks, length_s, count in ((outside, OUTSIDE_S, 2), (frozen, FROZEN_S, 2)):
        for place in rng.uniform(0.1, 0.95, count):
            start = int(place * frames)
            marks[start : start + round(length_s * fps)] = True
    tools[outside | black] = False
    return Script(phases, tools, outside, black, frozen & ~outside & ~black)


def _phases(frames: int, rng: np.random.Generator) -> NDArray[np.int64]:
    shares = SHARES * rng.uniform(0.6, 1.4, len(PHASES))
    order = list(range(len(PHASES)))
    if rng.random() < SKIPS_CLEANING:
        order.remove(5)
    elif rng.random() < 0.5:  # cleaning before packaging or after
        order[4], order[5] = order[5], order[4]
    ends = np.cumsum(shares[order]) / shares[order].sum() * frames
    return np.asarray(order, np.int64)[np.searchsorted(ends, np.arange(frames), side="right")]


def _in_and_out(
    chance: NDArray[np.float64], fps: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """A tool's presence: drawn anew every now and then by the chance at that moment."""
    out = np.zeros(len(chance), np.bool_)
    place = 0
    while place < len(chance):
        length = max(1, round(rng.exponential(CHANGE_S) * fps))
        out[place : place + length] = rng.random() < chance[place]
        place += length
    return out


def wander(frames: int, fps: float, reach: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A smooth path within ± ``reach``: three slow waves, (frames,)."""
    time = np.arange(frames) / fps
    waves = [
        np.sin(2 * np.pi * (time / rng.uniform(5, 40) + rng.uniform())) * weight
        for weight in (0.5, 0.3, 0.2)
    ]
    return np.asarray(reach * np.sum(waves, axis=0))
