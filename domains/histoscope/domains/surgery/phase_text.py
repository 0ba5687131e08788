"""Phase files as Cholec80 and its users write them.

One row a frame, ``frame<TAB>phase``: 25 rows a second or every 25th, spaces for the tab, a header
or none, the phase by name or by id, the frame by number or by clock time. Where the phase is an
id, the caller must say whose ids they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from histoscope.core.errors import DataError
from histoscope.domains.surgery.phases import CLASS_ORDERS, phase_name, phase_of_id, tool_name
from histoscope.domains.surgery.text_rows import (
    CLOCK,
    check_order,
    is_frame_number,
    is_header,
    numbered_lines,
)
from histoscope.domains.surgery.timeline import exact_rate


@dataclass(frozen=True)
class PhaseRows:
    """One video's phases.

    Attributes:
        frames: source frame numbers, int64, ascending, (rows,); None where the file holds times.
        seconds: clock times in seconds from the start of the video, float64, ascending, (rows,);
            None where the file holds frame numbers.
        phases: canonical names, (rows,).
        note: in which order ids were read; empty where phases are named.
    """

    frames: NDArray[np.int64] | None
    seconds: NDArray[np.float64] | None
    phases: NDArray[np.str_]
    note: str

    def frames_at(self, source_fps: float) -> NDArray[np.int64]:
        """Source frame numbers, also where the file holds times.

        Args:
            source_fps: frames a second of the video.
        """
        if self.frames is not None:
            return self.frames
        assert self.seconds is not None
        return np.rint(self.seconds * float(exact_rate(source_fps))).astype(np.int64)


def read_phases(path: Path, class_order: str | None = None) -> PhaseRows:
    """Read a phase file.

    Args:
        path: the file.
        class_order: a key of ``CLASS_ORDERS``: whose ids the file holds. None: ids are refused.

    Raises:
        DataError: unreadable, a malformed row, frames that do not ascend, an unknown phase, or
            ids without an order. The message names the file, the line and the way out.
    """
    lines = numbered_lines(path)
    if is_header(lines[0][1]):
        _refuse_tool_header(path, lines[0][1])
        lines = lines[1:]
    if not lines:
        raise DataError(f"{path}: a header and no rows; give a file with one row a frame")
    rows = [line.split(None, 1) for _, line in lines]
    numbers = [number for number, _ in lines]
    for number, row in zip(numbers, rows, strict=True):
        if len(row) != 2 or "\t" in row[1].strip():
            found = "\t".join(row).count("\t") + 1
            raise _malformed(path, number, f"{found} column{'s' * (found > 1)}")
    clock = ":" in rows[0][0]
    read = _seconds if clock else _frame
    at = [read(path, number, row[0]) for number, row in zip(numbers, rows, strict=True)]
    check_order(path, numbers, at)
    phases, has_ids = _phases(path, numbers, [row[1].strip() for row in rows], class_order)
    return PhaseRows(
        frames=None if clock else np.array(at, dtype=np.int64),
        seconds=np.array(at, dtype=np.float64) if clock else None,
        phases=phases,
        note=f"ids read in the {class_order} order" if has_ids else "",
    )


def _phases(
    path: Path, numbers: list[int], texts: list[str], class_order: str | None
) -> tuple[NDArray[np.str_], bool]:
    """Canonical names, and whether there were ids among them. A file has few distinct texts."""
    names: dict[str, str] = {}
    for number, text in zip(numbers, texts, strict=True):
        if text not in names:
            try:
                names[text] = _phase(text, class_order)
            except DataError as fault:
                raise DataError(f"{path}, line {number}: {fault}") from None
    return np.array([names[text] for text in texts], dtype=np.str_), any(map(_is_id, names))


def _phase(text: str, class_order: str | None) -> str:
    if not _is_id(text):
        return phase_name(text)
    if class_order is None:
        raise DataError(
            f"phase {text} is an id, and projects number the phases differently; "
            f"give --class-order ({', '.join(CLASS_ORDERS)})"
        )
    return phase_of_id(int(text), class_order)


def _is_id(text: str) -> bool:
    return text.lstrip("-").isdecimal()


def _frame(path: Path, number: int, text: str) -> float:
    if not is_frame_number(text):
        raise _malformed(path, number, repr(text))
    return int(text)


def _seconds(path: Path, number: int, text: str) -> float:
    time_s = clock_s(text)
    if time_s is None:
        raise _malformed(path, number, repr(text))
    return time_s


def clock_s(text: str) -> float | None:
    """``0:01:30.5`` is 90.5 seconds; None where a text is no clock time."""
    match = CLOCK.fullmatch(text)
    if match is None:
        return None
    hours, minutes, seconds = match.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds.replace(",", "."))


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


def _malformed(path: Path, number: int, found: str) -> DataError:
    return DataError(
        f"{path}, line {number}: {found} where a frame number or HH:MM:SS.ffffff and a phase "
        "are expected; write 'frame<TAB>phase'"
    )


def _refuse_tool_header(path: Path, header: str) -> None:
    words = header.split()[1:]
    try:
        tools = [tool_name(word) for word in words]
    except DataError:
        return
    if tools:
        raise DataError(f"{path}: a tool file (its columns are tools); give a phase file")
