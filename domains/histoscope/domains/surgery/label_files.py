"""Where the labels of operations lie, and which of them speak of which operation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from histoscope.core.errors import DataError
from histoscope.core.files import content_of
from histoscope.core.tables.spreadsheet import Sheet, read_sheet
from histoscope.domains.surgery.labels import FrameLabels, Span, in_order
from histoscope.domains.surgery.phase_text import read_phases, seconds_of
from histoscope.domains.surgery.phases import (
    CLASS_ORDERS,
    PHASES,
    TOOLS,
    phase_name,
    tool_name,
)
from histoscope.domains.surgery.segments import phases_in, segment_files
from histoscope.domains.surgery.tool_text import read_tools
from histoscope.domains.surgery.video_files import Key, natural_key, video_files

PHASE_FOLDER, TOOL_FOLDER = "phase_annotations", "tool_annotations"


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
        place: a folder with ``phase_annotations/`` and ``tool_annotations/`` (or one of them), one
            below which ``segments.json`` of predict lie, or a folder of CSVs
            ``case,start,end,phase``; one such file itself; None: no phases.
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
        elif place is not None and place.suffix.lower() == ".json":
            self._take_segments([place])
        elif place is not None:
            self._spans, self._classes = _read_spans([place], place)
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
        if self._phases or self._tools:
            return
        if files := segment_files(folder):
            self._take_segments(files)
            return
        tables = [file for file in sorted(folder.iterdir()) if file.suffix.lower() == ".csv"]
        if not tables:
            raise DataError(
                f"{folder}: neither {PHASE_FOLDER}/ nor {TOOL_FOLDER}/ in it, no segments.json "
                "below it, nor CSVs case,start,end,phase"
            )
        self._spans, self._classes = _read_spans(tables, folder)

    def _take_segments(self, files: Sequence[Path]) -> None:
        spans, classes = phases_in(files)
        names = dict(zip(classes, _canonical(classes, phase_name), strict=True))
        self._spans = {
            operation: [replace(one, phase=names[one.phase]) for one in some]
            for operation, some in spans.items()
            if some
        }
        found = tuple(dict.fromkeys(names.values()))
        self._classes = PHASES if set(found) <= set(PHASES) else found


def _by_key(files: Mapping[str, Path]) -> dict[Key, Path]:
    """``VIDEO7.MP4`` and ``video07-phase.txt`` are of one operation, as in ``score``."""
    return {natural_key(name): file for name, file in files.items()}


def _read_spans(
    files: Sequence[Path], place: Path
) -> tuple[dict[str, list[Span]], tuple[str, ...]]:
    """Spans by case of all files, and the phases: Cholec80's order where all are its, else sorted.

    Args:
        files: CSVs; what one says of a case may go on in another.
        place: what a person gave, for messages.
    """
    told = [
        (f"{path}, line {line}", row) for path in files for line, row in _rows_of_spans(path).rows
    ]
    names = _canonical([row["phase"] for _, row in told], phase_name)
    out: dict[str, list[Span]] = {}
    for (where, row), name in zip(told, names, strict=True):
        span = Span(seconds_of(row["start"], where), seconds_of(row["end"], where), name)
        if not 0 <= span.start_s < span.end_s < np.inf or not name:
            raise DataError(f"{where}: an end after its start and a phase are expected")
        out.setdefault(row["case"], []).append(span)
    for case, spans in out.items():
        out[case] = in_order(spans, f"{place}: {case}")
    return out, PHASES if set(names) <= set(PHASES) else tuple(sorted(set(names)))


def _rows_of_spans(path: Path) -> Sheet:
    sheet = read_sheet(path)
    for column in ("case", "start", "end", "phase"):
        sheet.column(column)
    return sheet


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
