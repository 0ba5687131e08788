"""Small pictures of a source, a few seconds apart, so that a page which holds them stays small."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from histoscope.core.contracts import CorruptSample

MOST = 480  # pictures on a page, by itself: one in five seconds of forty minutes
BUDGET = 13_500_000  # bytes of all; as text they are a third more: 18 MB of a page
SIDE_PX = 640
STEPS_S = (1, 2, 3, 5, 10, 15, 20, 30, 60, 120, 300, 600)
QUALITIES = (82, 70, 58, 46, 34, 22)
USUAL = QUALITIES[0]


@dataclass(frozen=True)
class Still:
    """One picture.

    Attributes:
        at_s: from when it counts.
        data: JPEG.
        quality: of it; :data:`USUAL` unless it had to be smaller.
    """

    at_s: float
    data: bytes
    quality: int


@dataclass(frozen=True)
class Stills:
    """Pictures of a source.

    Attributes:
        every_s: time from one to the next that was asked for.
        shown: those that could be read, in order.
        missing: when others count from, and why they could not be read.
    """

    every_s: float
    shown: Sequence[Still]
    missing: Sequence[tuple[float, str]] = ()

    @property
    def lowered(self) -> int:
        """How many are of less than the usual quality."""
        return sum(one.quality < USUAL for one in self.shown)


def fitting_step(end_s: float, sample_s: float) -> float:
    """Seconds from still to still: a whole number that keeps to :data:`MOST` pictures.

    Args:
        end_s: length of the source.
        sample_s: from sample to sample, which no still undercuts.
    """
    least = max(end_s / MOST, sample_s)
    return float(next((step for step in STEPS_S if step >= least - 1e-6), math.ceil(least)))


def chosen_places(starts_s: NDArray[np.float64], every_s: float) -> NDArray[np.int64]:
    """The first sample at or after each multiple of ``every_s``; none where there is a gap.

    Args:
        starts_s: from when each sample counts, from 0, increasing, (samples,).
        every_s: > 0.
    """
    multiple = np.floor((starts_s + 1e-6) / every_s)
    return np.flatnonzero(np.diff(multiple, prepend=-1) > 0).astype(np.int64)


def take_stills(
    answers: Iterable[NDArray[np.uint8] | CorruptSample],
    at_s: Sequence[float],
    every_s: float,
) -> Stills:
    """Pictures as JPEG, all within :data:`BUDGET`; one that cannot be read is left out, and told.

    One picture at a time is held unencoded.

    Args:
        answers: RGB pictures, or why there is none.
        at_s: from when each counts.
        every_s: see :class:`Stills`.
    """
    most = BUDGET // max(1, len(at_s))
    shown, missing = list[Still](), list[tuple[float, str]]()
    for when, answer in zip(at_s, answers, strict=True):
        if isinstance(answer, CorruptSample):
            missing.append((when, answer.reason))
        else:
            shown.append(Still(when, *small_jpeg(answer, most)))
    return Stills(every_s, shown, missing)


def small_jpeg(picture: NDArray[np.uint8], most: int) -> tuple[bytes, int]:
    """A picture as JPEG of at most :data:`SIDE_PX`, and its quality.

    Where it takes more than ``most`` bytes quality goes down, and then its size, to 32 px.
    """
    image = Image.fromarray(picture)
    side = SIDE_PX
    while True:
        image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
        for quality in QUALITIES:
            out = io.BytesIO()
            image.save(out, format="JPEG", quality=quality)
            if out.tell() <= most or (side <= 32 and quality == QUALITIES[-1]):
                return out.getvalue(), quality
        side = side * 3 // 4
