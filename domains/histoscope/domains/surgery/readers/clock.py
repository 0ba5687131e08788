"""A recording's clock, carried on where it starts anew: recorders append parts to one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

BACK_S = 1.0  # a packet that is no key frame may be this late without the clock being another
NEAR = 32  # packets before a restart that tell when the part in front of it ends
WRAP, WRAP_HZ = 1 << 33, 90_000  # clocks of MPEG streams begin again after so many ticks

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Restart:
    """Where a clock starts anew.

    Attributes:
        place: first packet of the part.
        moved: ticks to add to the times from there on, so that they go on.
    """

    place: int
    moved: int


def find_restarts(
    decoded: Ints, shown: Ints, keys: NDArray[np.bool_], time_base: Fraction | None
) -> list[Restart]:
    """Where packets, in the order of the file, have the times of another clock.

    A clock starts anew where a packet is to be decoded before the one in front of it. Of the end of
    a 33-bit clock, which a demuxer may see in it, a jump ahead of half its range is left. A single
    packet out of line is none.

    Args:
        decoded, shown: decoding and presentation times, ticks, (packets,).
        keys: which are key frames, (packets,).
        time_base: seconds a tick.

    Returns:
        In order; places are rows of the arguments.
    """
    if not time_base or len(decoded) < 2:
        return []
    hz = 1 / time_base
    steps = np.diff(decoded)
    ahead = steps >= WRAP // 2 if hz == WRAP_HZ else np.zeros(len(steps), np.bool_)
    back = (steps < 0) & (keys[1:] | (-steps > BACK_S * hz))
    found, begin, moved = list[Restart](), 0, 0
    for place in (np.flatnonzero(ahead | back) + 1).tolist():
        if not _alone(decoded, place, float(BACK_S * hz)):
            near = np.unique(shown[max(begin, place - NEAR) : place])
            step = int(np.median(np.diff(near))) if len(near) > 1 else 1
            moved += int(near[-1]) + step - int(shown[place])
            found.append(Restart(place, moved))
            begin = place
    return found


def _alone(times: Ints, place: int, limit: float) -> bool:
    """Whether this packet, or the one in front of it, is out of a line that goes on."""
    before, after = times[max(0, place - 2) : place - 1], times[place + 1 : place + 2]
    leaps = *(after - times[place - 1]), *(times[place] - before)
    return any(0 < leap <= limit for leap in leaps)


def carried_on(shown: Ints, restarts: Sequence[Restart]) -> tuple[Ints, NDArray[np.bool_]]:
    """Times on one clock, and which lie before the first packet of their part.

    The latter need what another part does not have, and cannot be decoded.

    Args:
        shown: presentation times, ticks, (packets,).
        restarts: of the same rows.
    """
    out, early = shown.copy(), np.zeros(len(shown), np.bool_)
    ends = [*(one.place for one in restarts[1:]), len(shown)]
    for restart, end in zip(restarts, ends, strict=False):
        part = slice(restart.place, end)
        early[part] = shown[part] < shown[restart.place]
        out[part] += restart.moved
    return out, early
