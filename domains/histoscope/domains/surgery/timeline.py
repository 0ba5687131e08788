"""Which frames stand for which moments: by presentation time, never by a float frame count."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

EXACT_S = 1e-6  # a frame may be this early in spite of rounding


def moments(times_s: NDArray[np.float64], rate_hz: float) -> NDArray[np.int64]:
    """The first frame with time >= k / rate for k = 0, 1, ...

    A moment whose first such frame belongs to a later moment (a gap in the recording) has none.

    Args:
        times_s: presentation times from 0, increasing, (frames,).
        rate_hz: moments a second.

    Returns:
        Frame numbers, increasing, each once.
    """
    if not len(times_s):
        return np.zeros(0, np.int64)
    count = int(np.floor((times_s[-1] + EXACT_S) * rate_hz)) + 1
    wanted = np.arange(count) / rate_hz
    first = np.searchsorted(times_s, wanted - EXACT_S)
    late = times_s[np.minimum(first, len(times_s) - 1)] >= wanted + 1 / rate_hz - EXACT_S
    return np.unique(first[(first < len(times_s)) & ~late]).astype(np.int64)


def interval_s(times_s: NDArray[np.float64]) -> float:
    """Median time from frame to frame, 0 when there is one frame."""
    return float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0
