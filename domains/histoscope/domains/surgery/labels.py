"""What is known of an operation's frames, and how it is joined: by the source's frame number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoscope.core.contracts import PlanLabels
from histoscope.core.errors import DataError
from histoscope.domains.surgery.numbering import LATE_S, check_numbering, label_numbers
from histoscope.domains.surgery.phase_text import PhaseRows
from histoscope.domains.surgery.phases import PHASES, TOOLS
from histoscope.domains.surgery.timeline import EXACT_S
from histoscope.domains.surgery.tool_text import ToolRows

if TYPE_CHECKING:
    from histoscope.domains.surgery.readers.movie import Movie

IN_MS = 100  # times its length, after which a recording cannot go on: other units
PHASE, TOOL = "phase", "tools"


@dataclass(frozen=True)
class Span:
    """A phase from ``start_s`` up to ``end_s``."""

    start_s: float
    end_s: float
    phase: str


def in_order(spans: Sequence[Span], where: str) -> list[Span]:
    """Spans in order of time.

    Raises:
        DataError: two overlap; a moment has one phase.
    """
    ordered = sorted(spans, key=lambda span: span.start_s)
    for one, other in pairwise(ordered):
        if other.start_s < one.end_s:
            raise DataError(
                f"{where}: {other.phase} begins at {other.start_s:g} s, before "
                f"{one.phase} ends at {one.end_s:g} s; a moment has one phase"
            )
    return ordered


@dataclass(frozen=True)
class FrameLabels:
    """Labels of one operation.

    Attributes:
        phases: rows of a phase file, None when there is none.
        tools: rows of a tool file, None when there is none.
        spans: phases by time, from a CSV.
        seconds: tools by whole second, from a CSV: second to 0, 1 or None a tool.
        classes: phases in the order of their ids.
        tool_names: tools in order.
        rate_hz: numbers a second in phase and tool files; None: they count frames.
    """

    phases: PhaseRows | None = None
    tools: ToolRows | None = None
    spans: Sequence[Span] = ()
    seconds: Mapping[int, Sequence[bool | None]] = field(default_factory=dict)
    classes: tuple[str, ...] = PHASES
    tool_names: tuple[str, ...] = TOOLS
    rate_hz: float | None = None

    def check(self, movie: Movie) -> None:
        """Refuse labels that are numbered or timed in another way than they are read.

        Raises:
            DataError: both readings, and what to do.
        """
        if self.rate_hz is None:
            if self.phases is not None and self.phases.frames is not None:
                check_numbering("phase rows", self.phases.frames, movie)
            if self.tools is not None:
                check_numbering("tool rows", self.tools.frames, movie)
        end_s, length_s = self._spans_end_s(), _length_s(movie)
        if end_s > IN_MS * length_s:
            raise DataError(
                f"phases go on to {end_s:g} s, the recording ends at {length_s:.1f} s: perhaps "
                "milliseconds; give start and end in seconds or as H:MM:SS"
            )

    def join(
        self, numbers: NDArray[np.int64], times_s: NDArray[np.float64], movie: Movie
    ) -> dict[str, PlanLabels]:
        """Labels of sampled frames; null where none is known.

        Args:
            numbers: the source's frame numbers.
            times_s: their times.
            movie: the source; rows with clock times are joined by the times that it has itself.
        """
        out = {}
        numbers = label_numbers(numbers, times_s, self.rate_hz)
        if self.phases is not None:
            rows, known = _rows_of(self.phases, numbers, times_s, movie.frame_s)
            names = self.phases.phases[rows].astype(object)
            out[PHASE] = PlanLabels(pa.array(names, pa.string(), mask=~known), self.classes)
        elif self.spans:
            spoken = [_phase_at(self.spans, time) for time in times_s.tolist()]
            out[PHASE] = PlanLabels(pa.array(spoken, pa.string()), self.classes)
        if self.tools is not None:
            rows, known = _rows_at(self.tools.frames, numbers)
            held = np.where(known[:, None], self.tools.values[rows], np.nan)
            out[TOOL] = PlanLabels(self._tool_table(held))
        elif self.seconds:
            nothing = [None] * len(self.tool_names)
            told = [self.seconds.get(int(time + 1e-6), nothing) for time in times_s]
            out[TOOL] = PlanLabels(self._tool_table(np.array(told, np.float64)))  # None becomes NaN
        return out

    def compare(self, movie: Movie) -> str:
        """One clause on what does not fit between the labels and the source, empty if all does."""
        said = list[str]()
        if self.phases is not None:
            said.append(self.phases.note)
            said += self._compare_phases(self.phases, movie)
        length_s = _length_s(movie)
        late = [span for span in self.spans if span.end_s > length_s + LATE_S]
        if late:
            lost = sum(span.start_s >= length_s for span in late)
            said.append(
                f"phases go on to {late[-1].end_s:g} s, the recording ends at {length_s:.1f} s"
                + f", {lost} of {len(self.spans)} lie behind it" * bool(lost)
            )
        if self.seconds and max(self.seconds) > length_s + LATE_S:
            said.append(
                f"tools go on to second {max(self.seconds)}, the recording ends at {length_s:.1f} s"
            )
        return "; ".join(filter(None, said))

    def _compare_phases(self, phases: PhaseRows, movie: Movie) -> list[str]:
        frames, said = phases.frames, list[str]()
        if frames is not None:
            last = label_numbers(movie.numbers[-1:], movie.times_s[-1:], self.rate_hz)
            form = "frame {:.0f}" if self.rate_hz is None else "{:.0f}"
            said += _differences(frames.astype(float), float(last[0]), form)
        elif phases.seconds is not None:
            said += _differences(phases.seconds, float(movie.times_s[-1]), "{:.2f} s")
        ends = None if self.tools is None else self.tools.frames[-1]
        if ends is not None and frames is not None and ends + 25 <= frames[-1]:
            said.append(f"tool labels end at frame {ends}")
        return said

    def _spans_end_s(self) -> float:
        return max((span.end_s for span in self.spans), default=0.0)

    def _tool_table(self, held: NDArray[np.float64]) -> pa.Table:
        """0 or 1, NaN where it is not known, (frames, tools)."""
        columns = zip(self.tool_names, held.T, strict=True)
        return pa.table({name: pa.array(one > 0, mask=np.isnan(one)) for name, one in columns})


def _length_s(movie: Movie) -> float:
    return float(movie.times_s[-1]) + movie.frame_s


def _rows_of(
    phases: PhaseRows,
    numbers: NDArray[np.int64],
    times_s: NDArray[np.float64],
    frame_s: float,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The row of each frame's number, or nearest to its time, and whether it speaks of it."""
    if phases.seconds is None:
        assert phases.frames is not None
        return _rows_at(phases.frames, numbers)
    middles = (phases.seconds[1:] + phases.seconds[:-1]) / 2
    nearest = np.searchsorted(middles, times_s)
    return nearest, np.abs(phases.seconds[nearest] - times_s) <= frame_s / 2 + EXACT_S


def _rows_at(
    frames: NDArray[np.int64], numbers: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    rows = np.searchsorted(frames, numbers).clip(max=len(frames) - 1)
    return rows, frames[rows] == numbers


def _differences(at: NDArray[np.float64], end: float, form: str) -> list[str]:
    """Where rows end before or after the source, and how often some are missing between them."""
    step = float(np.median(np.diff(at))) if len(at) > 1 else 1.0
    last, said = float(at[-1]), []
    if last > end + EXACT_S:
        said.append(f"phase labels go on to {form.format(last)}, the last frame is {end:g}")
    elif last + step <= end + EXACT_S:
        said.append(f"phase labels end at {form.format(last)}, the last frame is {end:g}")
    gaps = int((np.diff(at) > 1.5 * step).sum())
    return said + [f"{gaps} gaps in the phase labels"] * bool(gaps)


def _phase_at(spans: Sequence[Span], time_s: float) -> str | None:
    return next((s.phase for s in spans if s.start_s <= time_s < s.end_s), None)
