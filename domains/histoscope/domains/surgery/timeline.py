"""Moments, and which frames stand for them: by presentation time, never by a float frame count."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

EXACT_S = 1e-6  # a frame may be this early in spite of rounding
GAP_S = 30.0  # what is longer is no pause that the frames on either side tell of together
USUAL = 3  # times the median step; of frames a minute apart half a minute is no gap
NEAR = 1.5  # times the step; frames that are further apart do not touch
BROADCAST = Fraction(1000, 1001)  # 29.97 is 30 of these


def moments(times_s: NDArray[np.float64], rate_hz: float) -> NDArray[np.int64]:
    """The first frame with time >= k / rate for k = 0, 1, ...

    A moment whose first such frame belongs to a later moment (a gap in the recording) has none.

    Args:
        times_s: presentation times from 0, increasing, (frames,).
        rate_hz: moments a second.

    Returns:
        Frame numbers, increasing, each once.
    """
    # by frame, not by moment: a recorder's clock that jumps by years costs no memory
    moment = np.floor((times_s + EXACT_S) * rate_hz)  # the last one that is not after each frame
    return np.flatnonzero(np.diff(moment, prepend=-1) > 0).astype(np.int64)


def gaps(times_s: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Before which frames too much is missing to go on: over 30 s, and three times the usual step.

    Args:
        times_s: increasing, one or more.
    """
    steps = np.diff(times_s, prepend=times_s[0])
    return np.asarray(steps > max(GAP_S, USUAL * interval_s(times_s)))


def exact_rate(rate_hz: float) -> Fraction:
    """The rate that is meant: 23.976, 29.97, 59.94 and the like are 1000/1001 of a whole number."""
    whole = Fraction(round(rate_hz / BROADCAST)) * BROADCAST
    near = whole and abs(float(whole) - rate_hz) < 5e-4 and rate_hz % 1
    return whole if near else Fraction(str(rate_hz))


def clock(time_s: float) -> str:
    """``0:12:34``."""
    whole = int(time_s + EXACT_S)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def interval_s(times_s: NDArray[np.float64]) -> float:
    """Median time from frame to frame, 0 when there is one frame."""
    return float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0


def lasting_s(times_s: NDArray[np.float64]) -> float:
    """How long a sampled frame stands for: the mean step, without those over gaps; 1 of one frame.

    The median would be off where moments do not fall on frames: of 5 frames a second, two a second
    are 0.6 and 0.4 s apart.

    Args:
        times_s: increasing.
    """
    steps = np.diff(times_s)
    steps = steps[steps <= NEAR * interval_s(times_s)]
    return float(steps.mean()) if len(steps) else 1.0
