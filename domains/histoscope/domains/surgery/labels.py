"""What is known of an operation's frames, and how it is joined: by the source's frame number."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoscope.core.contracts import PlanLabels
from histoscope.core.errors import DataError
from histoscope.core.files import content_of
from histoscope.core.tables.spreadsheet import read_sheet
from histoscope.domains.surgery.numbering import LATE_S, check_numbering, label_numbers
from histoscope.domains.surgery.phase_text import PhaseRows, clock_s, read_phases
from histoscope.domains.surgery.phases import (
    CLASS_ORDERS,
    PHASES,
    TOOLS,
    phase_name,
    tool_name,
)
from histoscope.domains.surgery.timeline import EXACT_S
from histoscope.domains.surgery.tool_text import ToolRows, read_tools
from histoscope.domains.surgery.video_files import Key, natural_key, video_files

if TYPE_CHECKING:
    from histoscope.domains.surgery.readers.movie import Movie

IN_MS = 100  # times its length, after which a recording cannot go on: other units
PHASE, TOOL = "phase", "tools"
PHASE_FOLDER, TOOL_FOLDER = "phase_annotations", "tool_annotations"


@dataclass(frozen=True)
class Span:
    """A phase from ``start_s`` up to ``end_s``."""

    start_s: float
    end_s: float
    phase: str


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


@dataclass(frozen=True)
class Spoken:
    """What speaks of one operation.

    Attributes:
        phases, tools: files, None where there is none.
        spans, seconds: what CSVs call it, empty where they do not name it.
    """

    phases: Path | None
    tools: Path | None
    spans: str
    seconds: str

    def __bool__(self) -> bool:
        return any(self.all())

    def all(self) -> tuple[Path | str, ...]:
        """What there is."""
        return tuple(one for one in (self.phases, self.tools, self.spans, self.seconds) if one)


def others_of(operations: Iterable[tuple[str, str | None]]) -> frozenset[str]:
    """Names and cases of operations."""
    return frozenset(one for names in operations for one in names if one)


def _row_name(rows: Collection[str], names: Sequence[str], others: Collection[str]) -> str:
    """What rows call an operation, empty where they do not name it; the first name is its own."""
    for name in names:
        if name in rows:
            return name
    key = natural_key(names[0])
    near = [row for row in rows if row not in others and natural_key(row) == key]
    return near[0] if len(near) == 1 else ""


class LabelFiles:
    """Where the labels of operations lie.

    Args:
        place: a folder with ``phase_annotations/`` and ``tool_annotations/`` (or one of them), or a
            CSV ``case,start,end,phase``; None: no phases.
        tools_csv: CSV ``case,second`` and one 0/1 column a tool, instead of the folder's tool
            files; None when there is none.
        class_order: whose ids phase files hold.
        rate_hz: numbers a second in phase and tool files; None: they count frames.

    Raises:
        DataError: absent, or not what it should be.
    """

    def __init__(
        self,
        place: Path | None,
        tools_csv: Path | None,
        class_order: str | None,
        rate_hz: float | None = None,
    ) -> None:
        self._order, self._rate_hz = class_order, rate_hz
        self._phases, self._tools = dict[Key, Path](), dict[Key, Path]()
        self._spans = dict[str, list[Span]]()
        self._seconds = dict[str, dict[int, list[bool | None]]]()
        self._classes = CLASS_ORDERS["m2cai16"] if class_order == "m2cai16" else PHASES
        self._tool_names: tuple[str, ...] = TOOLS
        if place is not None and place.is_dir():
            self._find(place)
        elif place is not None:
            self._spans, self._classes = _read_spans(place)
        if tools_csv is not None:
            self._seconds, self._tool_names = _read_seconds(tools_csv)
            self._tools = {}  # one question, one source of answers: their classes may differ

    def find(self, name: str, case: str | None, others: Collection[str]) -> Spoken:
        """What speaks of one operation.

        Files are named after it, or its case. Rows of a CSV name it or its case; else they name it
        with other zeros before its number, if they name no other operation or case.

        Args:
            name: of the operation.
            case: whose it is, None where unknown.
            others: names and cases of all operations.
        """
        names = [one for one in (name, case) if one]
        keys = [natural_key(one) for one in names]
        return Spoken(
            next((self._phases[key] for key in keys if key in self._phases), None),
            next((self._tools[key] for key in keys if key in self._tools), None),
            _row_name(self._spans, names, others),
            _row_name(self._seconds, names, others),
        )

    def read(self, spoken: Spoken) -> FrameLabels | None:
        """The labels, None where nothing speaks of the operation.

        Raises:
            DataError: its file is not what it should be.
        """
        if not spoken:
            return None
        return FrameLabels(
            read_phases(spoken.phases, self._order) if spoken.phases else None,
            read_tools(spoken.tools) if spoken.tools else None,
            self._spans.get(spoken.spans, []),
            self._seconds.get(spoken.seconds, {}),
            self._classes,
            self._tool_names,
            self._rate_hz,
        )

    def told(self, spoken: Spoken) -> list[bytes]:
        """All that speaks of the operation, as bytes: empty when nothing does."""
        files = [file for file in (spoken.phases, spoken.tools) if file]
        rows = self._spans.get(spoken.spans), self._seconds.get(spoken.seconds)
        told = [content_of(file) for file in files] + [repr(some).encode() for some in rows if some]
        return [*told, repr((self._classes, self._tool_names)).encode()] if told else []

    def unknown(self, operations: Iterable[tuple[str, str | None]]) -> list[str]:
        """What has labels and is none of these operations, in natural order.

        Args:
            operations: names, with their cases.
        """
        known = list(operations)
        others = others_of(known)
        used = {one for name, case in known for one in self.find(name, case, others).all()}
        files = {*self._phases.values(), *self._tools.values()} - used
        rows = {*self._spans, *self._seconds} - used
        return sorted({*rows, *(file.name for file in files)}, key=natural_key)

    def _find(self, folder: Path) -> None:
        if (folder / PHASE_FOLDER).is_dir():
            self._phases = _by_key(video_files(folder / PHASE_FOLDER, "phase"))
        if (folder / TOOL_FOLDER).is_dir():
            self._tools = _by_key(video_files(folder / TOOL_FOLDER, "tool"))
        if not self._phases and not self._tools:
            raise DataError(f"{folder}: neither {PHASE_FOLDER}/ nor {TOOL_FOLDER}/ in it")


def _by_key(files: Mapping[str, Path]) -> dict[Key, Path]:
    """``VIDEO7.MP4`` and ``video07-phase.txt`` are of one operation, as in ``score``."""
    return {natural_key(name): file for name, file in files.items()}


def _read_spans(path: Path) -> tuple[dict[str, list[Span]], tuple[str, ...]]:
    """Spans by case, and the phases: Cholec80's order where all are its, else sorted."""
    sheet = read_sheet(path)
    for column in ("case", "start", "end", "phase"):
        sheet.column(column)
    names = _canonical([row["phase"] for _, row in sheet.rows], phase_name)
    out: dict[str, list[Span]] = {}
    for (line, row), name in zip(sheet.rows, names, strict=True):
        where = f"{path}, line {line}"
        span = Span(seconds_of(row["start"], where), seconds_of(row["end"], where), name)
        if not 0 <= span.start_s < span.end_s < np.inf or not name:
            raise DataError(f"{where}: an end after its start and a phase are expected")
        out.setdefault(row["case"], []).append(span)
    for case, spans in out.items():
        spans.sort(key=lambda span: span.start_s)
        for one, other in pairwise(spans):
            if other.start_s < one.end_s:
                raise DataError(
                    f"{path}: {case}: {other.phase} begins at {other.start_s:g} s, before "
                    f"{one.phase} ends at {one.end_s:g} s; a moment has one phase"
                )
    return out, PHASES if set(names) <= set(PHASES) else tuple(sorted(set(names)))


def _canonical(names: Sequence[str], known: Callable[[str], str]) -> list[str]:
    """Names in the field's own spelling if all of them are its, else as they are."""
    try:
        return [known(name) for name in names]
    except DataError:
        return list(names)


def _read_seconds(
    path: Path,
) -> tuple[dict[str, dict[int, list[bool | None]]], tuple[str, ...]]:
    sheet = read_sheet(path)
    fixed = sheet.column("case"), sheet.column("second")
    columns = [name for name in map(str.lower, sheet.names) if name not in fixed]
    if not columns:
        raise DataError(f"{path}: no column of a tool beside case and second")
    out: dict[str, dict[int, list[bool | None]]] = {}
    known = {"0": False, "1": True, "": None}
    for line, row in sheet.rows:
        values = [row[name] for name in columns]
        if not row["second"].isdecimal() or set(values) - set(known):
            raise DataError(f"{path}, line {line}: a whole second and 0, 1 or nothing a tool")
        case = out.setdefault(row["case"], {})
        case[int(row["second"])] = [known[value] for value in values]
    return out, tuple(_canonical(columns, tool_name))


def seconds_of(text: str, where: str) -> float:
    """``90``, ``90.5``, ``1:30`` is refused as unclear, ``0:01:30`` is 90 seconds.

    Raises:
        DataError: neither seconds nor HH:MM:SS.
    """
    word = text.strip().replace(",", ".")
    try:
        return float(word) if (clock := clock_s(word)) is None else clock
    except ValueError:
        raise DataError(f"{where}: {text!r} is neither seconds nor HH:MM:SS") from None
