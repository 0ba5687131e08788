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
# How likely a phase begins an operation, and which follow each (rows and columns as PHASES): two or
# three of six, so that what came before tells something; many lead back, so the time tells little.
FIRST = np.array([0.70, 0.20, 0, 0, 0, 0.10, 0])
NEXT = np.array(
    [
        (0, 0.65, 0, 0.15, 0, 0.20, 0),
        (0, 0, 0.60, 0.20, 0, 0.20, 0),
        (0, 0.40, 0, 0.40, 0, 0.20, 0),
        (0, 0.20, 0.20, 0, 0.60, 0, 0),
        (0, 0, 0, 0.25, 0, 0.45, 0.30),
        (0, 0.30, 0, 0.35, 0, 0, 0.35),
        (0, 0, 0, 0, 0.50, 0.50, 0),
    ]
)
STOPS = np.array([0, 0, 0, 0, 0.15, 0.10, 0.60])  # chance that an operation ends with a phase
SEGMENTS = (4, 9)  # fewest and most in an operation
LENGTHS = np.array([0.10, 0.16, 0.10, 0.16, 0.12, 0.10, 0.12])  # of a segment, median, in parts
SPREAD = 0.7  # deviation of the logarithm of a segment's length: one in three doubles or halves
SHORTEST = 0.02  # of the operation
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
    phases = _phases(frames, generator(seed, "surgery/course", operation))
    rng = generator(seed, "surgery/script", operation)
    tools = np.stack([_in_and_out(USE[phases, t], fps, rng) for t in range(len(TOOLS))], axis=1)
    outside, black, frozen = (np.zeros(frames, np.bool_) for _ in range(3))
    black[: round(BLACK_S * fps)] = True
    for marks, length_s, count in ((outside, OUTSIDE_S, 2), (frozen, FROZEN_S, 2)):
        for place in rng.uniform(0.1, 0.95, count):
            start = int(place * frames)
            marks[start : start + round(length_s * fps)] = True
    tools[outside | black] = False
    return Script(phases, tools, outside, black, frozen & ~outside & ~black)


def length_s(seed: int, operation: int, seconds: int, spread_s: int) -> int:
    """How long an operation lasts: whole seconds, within ``spread_s`` or half of ``seconds``."""
    spread_s = min(spread_s, seconds // 2)
    rng = generator(seed, "surgery/length", operation)
    return int(rng.integers(seconds - spread_s, seconds + spread_s, endpoint=True))


def _phases(frames: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """A walk from phase to phase; its segments fill the operation."""
    order = [int(rng.choice(len(PHASES), p=FIRST))]
    while len(order) < SEGMENTS[1]:
        if len(order) >= SEGMENTS[0] and rng.random() < STOPS[order[-1]]:
            break
        order.append(int(rng.choice(len(PHASES), p=NEXT[order[-1]])))
    lengths = LENGTHS[order] * np.exp(SPREAD * rng.standard_normal(len(order)))
    lengths = np.maximum(lengths, SHORTEST * lengths.sum())
    ends = np.cumsum(lengths) / lengths.sum() * frames
    places = np.searchsorted(ends[:-1], np.arange(frames), side="right")
    return np.asarray(order, np.int64)[places]


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
