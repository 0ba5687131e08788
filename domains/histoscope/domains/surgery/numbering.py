"""What the numbers of label files count: frames of the source, or moments at another rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from histoscope.core.errors import DataError
from histoscope.domains.surgery.timeline import EXACT_S, exact_rate

if TYPE_CHECKING:
    from histoscope.domains.surgery.readers.movie import Movie

FEW_ROWS = 10  # with fewer rows their number says nothing of how frames are numbered
USUAL_HZ = (1, 2, 5, 10, 15, 20, 23.976, 24, 25, 29.97, 30, 50, 59.94, 60)
EARLY_S, EARLY_SHARE = 2.0, 0.01  # labels may end so much before the source, the greater of both
LATE_S = 1.0  # or behind it
NEAR_S, NEAR_SHARE = 1.5, 0.005  # another reading must end so near to the source


def label_numbers(
    numbers: NDArray[np.int64], times_s: NDArray[np.float64], rate_hz: float | None
) -> NDArray[np.int64]:
    """Numbers by which label files call frames.

    Args:
        numbers: the source's frame numbers, (frames,).
        times_s: their times, (frames,).
        rate_hz: numbers a second; None: label files count the source's frames.

    Returns:
        The last number whose moment is not after the frame, (frames,).
    """
    if rate_hz is None:
        return numbers
    rate = exact_rate(rate_hz)
    return np.floor((times_s + EXACT_S) * float(rate)).astype(np.int64)


def check_numbering(what: str, rows: NDArray[np.int64], movie: Movie) -> None:
    """Refuse numbers that end far from the source's last frame, and with it at another rate.

    Args:
        what: the rows, for the message.
        rows: numbers of a label file, ascending, (rows,).
        movie: the source.

    Raises:
        DataError: both readings, and the option that decides.
    """
    if len(rows) < FEW_ROWS or len(movie.times_s) < FEW_ROWS:
        return
    end = int(rows[-1]) + int(np.median(np.diff(rows)))
    length_s = float(movie.times_s[-1]) + float(np.median(np.diff(movie.times_s)))
    frames = int(movie.numbers[-1]) + int(np.median(np.diff(movie.numbers)))
    as_frames_s = end * length_s / frames
    early_s = length_s - as_frames_s
    if -LATE_S <= early_s <= max(EARLY_S, EARLY_SHARE * length_s):
        return
    apart = {hz: abs(end / float(exact_rate(hz)) - length_s) for hz in USUAL_HZ}
    hz = min(apart, key=lambda one: apart[one])
    if apart[hz] > min(max(NEAR_S, NEAR_SHARE * length_s), abs(early_s) / 2):
        return
    raise DataError(
        f"{what} are numbered up to {rows[-1]}: as frames of the source they end at "
        f"{as_frames_s:.1f} s of {length_s:.1f} s, as {hz:g} a second with it; say which by "
        f"--label-rate {hz:g}, or --label-rate {frames / length_s:.6g} for frames"
    )
