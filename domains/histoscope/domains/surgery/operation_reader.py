"""Frames of one operation at one sampling. Implements :class:`histoscope.core.contracts.Reader`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Self

import numpy as np
import pyarrow as pa
from av.error import FFmpegError
from numpy.typing import NDArray

from histoscope.core.contracts import CorruptSample, Plan, PlanLabels, Sample, Scalar
from histoscope.core.errors import UnreadableSource
from histoscope.domains.surgery.labels import FrameLabels
from histoscope.domains.surgery.marks import marks_of
from histoscope.domains.surgery.options import FrameSampling
from histoscope.domains.surgery.picture import Measured, to_square, to_width
from histoscope.domains.surgery.readers.movie import Movie
from histoscope.domains.surgery.scope import Circle, Kept, kept_of
from histoscope.domains.surgery.timeline import moments

GLANCES = 7  # frames looked at for the field of view


class OperationReader:
    """An open operation.

    Args:
        name: what label files call it.
        movie: its frames.
        sampling: which frames, and how they become images.
        labels: what is known of its frames, None when nothing is.

    Raises:
        UnreadableSource: no frame that was looked at can be decoded.
    """

    divisible = False  # one pass from the start is the only way that is right on every file

    def __init__(
        self, name: str, movie: Movie, sampling: FrameSampling, labels: FrameLabels | None
    ) -> None:
        self.name = name
        self._movie = movie
        self._sampling = sampling
        self._labels = labels
        self._places = moments(movie.times_s, sampling.fps)
        self._kept = self._look() if sampling.crop != "none" else Kept()
        sides = ("left", "top", "right", "bottom")
        told: Mapping[str, Scalar] = {}
        if sampling.crop in ("circle", "inside"):
            found = asdict(self._kept.circle) if self._kept.circle else {}
            names = (one.name for one in fields(Circle))
            told = {f"circle_{name}_px": found.get(name) for name in names}
        self.facts: Mapping[str, Scalar] = {
            **movie.facts,
            "fps": sampling.fps,
            **{f"field_{side}_px": getattr(self._kept.field, side, None) for side in sides},
            **told,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        """Nothing is held open between two reads."""

    @property
    def fps(self) -> float:
        """Moments a second."""
        return self._sampling.fps

    @property
    def length_s(self) -> float:
        """From the first frame to the end of the last; of extracted frames, to the next moment."""
        return max(float(self._movie.facts["duration_s"] or 0), float(self._movie.times_s[-1]))

    def plan(self) -> Plan:
        """One row a moment, with labels joined by the source's frame number."""
        movie, places = self._movie, self._places
        numbers, times = movie.numbers[places], movie.times_s[places]
        rows = pa.table(
            {
                "key": pa.array([str(number) for number in numbers], pa.string()),
                "at_s": pa.array(times.round(6), pa.float64()),
                "frame": pa.array(numbers, pa.int64()),
                "pts": pa.array(movie.pts[places], pa.int64()),
                "part": pa.array(movie.parts[places], pa.int64()),
            }
        )
        notes = [movie.note, self._kept.note]
        tasks: Mapping[str, PlanLabels] = {}
        if self._labels is not None:
            tasks = self._labels.join(numbers, times, movie)
            notes.append(self._labels.compare(movie))
        return Plan(rows, tasks, "; ".join(filter(None, notes)))

    def read(self, rows: pa.Table) -> Iterator[Sample | CorruptSample]:
        """One image a row, in row order; a frame that cannot be decoded is a corrupt sample."""
        wanted = rows.column("frame").to_numpy()
        places = np.searchsorted(self._movie.numbers, wanted)
        measured = Measured()
        for _, answer in self._movie.read(places.tolist()):
            if isinstance(answer, str):
                yield CorruptSample(f"unreadable ({answer})")
                continue
            image = to_square(self._kept.cut(answer), self._sampling.size_px)
            yield Sample(image, measured.measure(image))

    def pictures(self, frames: Sequence[int]) -> Sequence[NDArray[np.uint8] | CorruptSample]:
        """Frames at the recording's own size, cut as samples are.

        Args:
            frames: their numbers, few, in any order.
        """
        places = np.searchsorted(self._movie.numbers, frames)
        found = dict(self._movie.glance(np.unique(places).tolist()))
        return [self._shown(found[place]) for place in places.tolist()]

    def whole_pictures(
        self, frames: NDArray[np.int64]
    ) -> Iterator[NDArray[np.uint8] | CorruptSample]:
        """As :meth:`pictures`, of any number of frames, increasing: one at a time, in one pass."""
        places = np.searchsorted(self._movie.numbers, frames)
        for _, answer in self._movie.read(places.tolist()):
            yield self._shown(answer)

    def stills(
        self, frames: Sequence[int], width_px: int
    ) -> Iterator[NDArray[np.uint8] | CorruptSample]:
        """Frames made small, of which one at a time is held at the recording's own size.

        Args:
            frames: their numbers, increasing, few.
            width_px: of a still; it keeps its sides' ratio.
        """
        left = np.searchsorted(self._movie.numbers, frames).tolist()
        while left:
            try:
                for _, answer in self._movie.glance(list(left)):
                    left.pop(0)
                    shown = self._shown(answer)
                    yield shown if isinstance(shown, CorruptSample) else to_width(shown, width_px)
                break
            except (UnreadableSource, OSError, FFmpegError) as fault:  # of this one; go on behind
                if left:
                    left.pop(0)
                    yield CorruptSample(f"unreadable ({fault})")

    def _shown(self, answer: NDArray[np.uint8] | str) -> NDArray[np.uint8] | CorruptSample:
        if isinstance(answer, str):
            return CorruptSample(f"unreadable ({answer})")
        return self._kept.cut(answer)

    def marks(self, rows: pa.Table) -> Sequence[str | None]:
        """Black frames, repeats, and stretches that may lie outside the body."""
        found = [np.full(len(rows), np.nan)] * 3  # of a single frame, or where none could be read
        for place, name in enumerate(("brightness", "difference", "redness")):
            if name in rows.column_names:
                found[place] = rows.column(name).to_numpy().astype(np.float64)
        return marks_of(rows.column("at_s").to_numpy(), *found)

    def _look(self) -> Kept:
        """What is kept, by a few frames spread over the recording."""
        spread = np.linspace(0, len(self._places) - 1, GLANCES).round().astype(int)
        places = np.unique(self._places[spread])
        found = [answer for _, answer in self._movie.glance(places.tolist())]
        pictures = [answer for answer in found if not isinstance(answer, str)]
        return kept_of(pictures, self._sampling.crop)
