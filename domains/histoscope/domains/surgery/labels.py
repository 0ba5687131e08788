"""What is known of an operation's frames, and how it is joined: by the source's frame number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoscope.core.contracts import PlanLabels
from histoscope.core.data.spreadsheet import header_of, read_rows
from histoscope.core.errors import DataError
from histoscope.domains.surgery.phase_text import CLOCK, PhaseRows, read_phases
from histoscope.domains.surgery.phases import (
    CLASS_ORDERS,
    PHASES,
    TOOLS,
    phase_name,
    tool_name,
)
from histoscope.domains.surgery.tool_text import ToolRows, read_tools
from histoscope.domains.surgery.video_files import video_files

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
        frame_rate: of the source, for phase files with clock times.
    """

    phases: PhaseRows | None = None
    tools: ToolRows | None = None
    spans: Sequence[Span] = ()
    seconds: Mapping[int, Sequence[bool | None]] = field(default_factory=dict)
    classes: tuple[str, ...] = PHASES
    tool_names: tuple[str, ...] = TOOLS
    frame_rate: float = 25.0

    def join(
        self, numbers: NDArray[np.int64], times_s: NDArray[np.float64]
    ) -> dict[str, PlanLabels]:
        """Labels of sampled frames; null where none is known.

        Args:
            numbers: the source's frame numbers.
            times_s: their times.
        """
        out = {}
        if self.phases is not None:
            frames = self.phases.frames_at(self.frame_rate)
            known = dict(zip(frames.tolist(), self.phases.phases.tolist(), strict=True))
            out[PHASE] = PlanLabels(
                _strings([known.get(n) for n in numbers.tolist()]), self.classes
            )
        elif self.spans:
            found = [_phase_at(self.spans, time) for time in times_s.tolist()]
            out[PHASE] = PlanLabels(_strings(found), self.classes)
        if self.tools is not None:
            out[TOOL] = PlanLabels(self._tool_table(_rows_at(self.tools, numbers)))
        elif self.seconds:
            nothing: list[bool | None] = [None] * len(self.tool_names)
            rows = [list(self.seconds.get(int(time + 1e-6), nothing)) for time in times_s]
            out[TOOL] = PlanLabels(self._tool_table(rows))
        return out

    def compare(self, numbers: NDArray[np.int64]) -> str:
        """One clause on what does not fit between the labels and the source, empty if all does.

        Args:
            numbers: all frame numbers of the source.
        """
        if self.phases is None:
            return ""
        frames = self.phases.frames_at(self.frame_rate)
        said = [self.phases.note]
        step = int(np.median(np.diff(frames))) if len(frames) > 1 else 1
        if frames[-1] > numbers[-1]:
            said.append(
                f"phase labels go on to frame {frames[-1]}, the last frame is {numbers[-1]}"
            )
        elif frames[-1] + step <= numbers[-1]:
            said.append(f"phase labels end at frame {frames[-1]}, the last frame is {numbers[-1]}")
        gaps = int((np.diff(frames) > step).sum())
        if gaps:
            said.append(f"{gaps} gaps in the phase labels")
        if self.tools is not None and self.tools.frames[-1] + 25 <= frames[-1]:
            said.append(f"tool labels end at frame {self.tools.frames[-1]}")
        return "; ".join(filter(None, said))

    def _tool_table(self, rows: Sequence[Sequence[bool | None]]) -> pa.Table:
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(self.tool_names)
        return pa.table(
            {
                name: pa.array(list(column), pa.bool_())
                for name, column in zip(self.tool_names, columns, strict=True)
            }
        )


def _strings(values: Sequence[str | None]) -> pa.Array:
    return pa.array(values, pa.string())


def _rows_at(tools: ToolRows, numbers: NDArray[np.int64]) -> list[list[bool | None]]:
    place = {int(frame): row for row, frame in enumerate(tools.frames)}
    nothing: list[bool | None] = [None] * tools.values.shape[1]
    out = []
    for number in numbers.tolist():
        row = place.get(number)
        values = None if row is None else tools.values[row]
        out.append(nothing if values is None else [None if v != v else bool(v) for v in values])
    return out


def _phase_at(spans: Sequence[Span], time_s: float) -> str | None:
    return next((s.phase for s in spans if s.start_s <= time_s < s.end_s), None)


class LabelFiles:
    """Where the labels of operations lie.

    Args:
        place: a folder with ``phase_annotations/`` and ``tool_annotations/`` (or one of them), or a
            CSV ``case,start,end,phase``; None: no phases.
        tools_csv: CSV ``case,second`` and one 0/1 column a tool, None when there is none.
        class_order: whose ids phase files hold.
        frame_rate: of the source, for clock times.

    Raises:
        DataError: absent, or not what it should be.
    """

    def __init__(
        self, place: Path | None, tools_csv: Path | None, class_order: str | None, frame_rate: float
    ) -> None:
        self._order = class_order
        self._rate = frame_rate
        self._phases, self._tools = dict[str, Path](), dict[str, Path]()
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

    def of(self, name: str) -> FrameLabels | None:
        """Labels of one operation, None when there are none.

        Raises:
            DataError: its file is not what it should be.
        """
        phases, tools = self._phases.get(name), self._tools.get(name)
        spans, seconds = self._spans.get(name, []), self._seconds.get(name, {})
        if not (phases or tools or spans or seconds):
            return None
        return FrameLabels(
            read_phases(phases, self._order) if phases else None,
            read_tools(tools) if tools else None,
            spans,
            seconds,
            self._classes,
            self._tool_names,
            self._rate,
        )

    def _find(self, folder: Path) -> None:
        if (folder / PHASE_FOLDER).is_dir():
            self._phases = video_files(folder / PHASE_FOLDER, "phase")
        if (folder / TOOL_FOLDER).is_dir():
            self._tools = video_files(folder / TOOL_FOLDER, "tool")
        if not self._phases and not self._tools:
            raise DataError(f"{folder}: neither {PHASE_FOLDER}/ nor {TOOL_FOLDER}/ in it")


def _read_csv(path: Path, needed: set[str]) -> list[dict[str, str]]:
    rows = read_rows(path)
    missing = sorted(needed - (set(rows[0]) if rows else header_of(path)))
    if missing:
        raise DataError(f"{path}: lacks the columns {', '.join(missing)}")
    return rows


def _read_spans(path: Path) -> tuple[dict[str, list[Span]], tuple[str, ...]]:
    """Spans by case, and the phases: Cholec80's order where all are its, else sorted."""
    rows = _read_csv(path, {"case", "start", "end", "phase"})
    names = _canonical([row["phase"] for row in rows], phase_name)
    out: dict[str, list[Span]] = {}
    for line, (row, name) in enumerate(zip(rows, names, strict=True), 2):
        where = f"{path}, line {line}"
        span = Span(seconds_of(row["start"], where), seconds_of(row["end"], where), name)
        if span.end_s <= span.start_s or not name:
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
    rows = _read_csv(path, {"case", "second"})
    columns = [name for name in (rows[0] if rows else ()) if name not in ("case", "second")]
    if not columns:
        raise DataError(f"{path}: no column of a tool beside case and second")
    out: dict[str, dict[int, list[bool | None]]] = {}
    known = {"0": False, "1": True, "": None}
    for line, row in enumerate(rows, 2):
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
    clock = CLOCK.fullmatch(word)
    if clock:
        hours, minutes, seconds = clock.groups()
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    try:
        return float(word)
    except ValueError:
        raise DataError(f"{where}: {text!r} is neither seconds nor HH:MM:SS") from None
