"""Which frames should not teach: black, repeated, or suspected to show the room."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BLACK_LEVEL = 10.0  # mean grey; the darkest of 1,700 frames inside patients had 17.8
SAME_LEVEL = 0.15  # mean difference; the stillest of them 0.28
OUTSIDE_REDNESS = 0.35  # median over a stretch; grey has 0.333, inside patients 0.37 to 0.53
STRETCH_S = 3.0

BLACK, REPEATED, OUTSIDE = "black", "repeated", "outside?"


def marks_of(
    times_s: NDArray[np.float64],
    brightness: NDArray[np.float64],
    difference: NDArray[np.float64],
    redness: NDArray[np.float64],
) -> list[str | None]:
    """One mark a frame, None where it is fit.

    A stretch is suspected to lie outside the body when the redness stays below the limit for at
    least three seconds, single frames apart: nothing inside is so grey for so long, while smoke, a
    white cloth or a bag over the lens may be for a moment.

    Args:
        times_s: of the frames, increasing.
        brightness, difference, redness: as :class:`~.picture.Measured` gives them; NaN where a
            frame could not be read or has no such number.
    """
    out: list[str | None] = [None] * len(times_s)
    for place in np.flatnonzero(_outside(times_s, redness)):
        out[place] = OUTSIDE
    for place in np.flatnonzero(difference < SAME_LEVEL):
        out[place] = REPEATED
    for place in np.flatnonzero(brightness < BLACK_LEVEL):
        out[place] = BLACK
    return out


def _outside(times_s: NDArray[np.float64], redness: NDArray[np.float64]) -> NDArray[np.bool_]:
    grey = np.nan_to_num(redness, nan=0.0) < OUTSIDE_REDNESS
    if len(grey) > 2:  # a single frame among others that differ from it follows its neighbours
        inner = grey.copy()
        inner[1:-1] = np.where(grey[:-2] == grey[2:], grey[:-2], grey[1:-1])
        grey = inner
    out = np.zeros(len(grey), np.bool_)
    for start, end in runs(grey):
        if times_s[end - 1] - times_s[start] >= STRETCH_S:
            out[start:end] = True
    return out


def runs(holds: Sequence[bool] | NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Start and end (exclusive) of each run of True."""
    edges = np.diff(np.r_[0, np.asarray(holds, np.int8), 0])
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return list(zip(starts.tolist(), ends.tolist(), strict=True))
