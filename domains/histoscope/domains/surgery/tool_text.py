"""Tool files as Cholec80 writes them, and predictions in the same form.

``Frame<TAB>Grasper<TAB>Bipolar...``, one row a labelled frame (0, 25, 50, ...), 0 or 1; in a
prediction a probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from histoscope.core.errors import DataError
from histoscope.domains.surgery.phases import TOOLS, tool_name
from histoscope.domains.surgery.text_rows import (
    check_order,
    is_frame_number,
    is_header,
    numbered_lines,
)

UNKNOWN = ("", "na", "nan", "null", "none")


@dataclass(frozen=True)
class ToolRows:
    """One video's tools.

    Attributes:
        frames: source frame numbers, int64, ascending, (rows,).
        values: 0 or 1, or a probability, float64, (rows, tools) in the order of ``TOOLS``; NaN
            where it is not known, also for a tool without a column.
    """

    frames: NDArray[np.int64]
    values: NDArray[np.float64]


def read_tools(path: Path, *, probabilities: bool = False) -> ToolRows:
    """Read a tool file; its header says which column is which tool.

    Args:
        path: the file.
        probabilities: whether values may lie between 0 and 1.

    Raises:
        DataError: unreadable, without header, an unknown or repeated tool, a malformed row or
            value, or frames that do not ascend.
    """
    lines = numbered_lines(path)
    columns = _columns(path, lines[0][1])
    if len(lines) < 2:
        raise DataError(f"{path}: a header and no rows; give a file with one row a frame")
    frames: list[float] = []
    values = np.full((len(lines) - 1, len(TOOLS)), np.nan)
    for row, (number, line) in enumerate(lines[1:]):
        words = _words(line, len(columns) + 1)
        if len(words) != len(columns) + 1 or not is_frame_number(words[0]):
            raise DataError(
                f"{path}, line {number}: a frame number and {len(columns)} values are expected, "
                f"found {line.strip()[:40]!r}"
            )
        frames.append(int(words[0]))
        try:
            values[row, columns] = [_value(word, probabilities) for word in words[1:]]
        except DataError as fault:
            raise DataError(f"{path}, line {number}: {fault}") from None
    check_order(path, [number for number, _ in lines[1:]], frames)
    return ToolRows(np.array(frames, dtype=np.int64), values)


def _columns(path: Path, header: str) -> list[int]:
    """Position in ``TOOLS`` of each column after the first."""
    if not is_header(header):
        raise DataError(
            f"{path}: no header, so nobody knows which column is which tool; "
            f"the first line must be Frame {' '.join(TOOLS)}"
        )
    words = header.split("\t") if "\t" in header else header.split()
    try:
        columns = [TOOLS.index(tool_name(word.strip())) for word in words[1:] if word.strip()]
    except DataError as fault:
        raise DataError(f"{path}, line 1: {fault}") from None
    if not columns or len(set(columns)) < len(columns):
        raise DataError(f"{path}, line 1: each tool needs one column, and there must be one")
    return columns


def _words(line: str, expected: int) -> Sequence[str]:
    by_tab = [word.strip() for word in line.split("\t")]
    return by_tab if len(by_tab) == expected else line.split()


def _value(word: str, probabilities: bool) -> float:
    if word.casefold() in UNKNOWN:
        return float("nan")
    try:
        value = float(word)
    except ValueError:
        raise DataError(f"{word!r} is no number") from None
    if not 0 <= value <= 1:
        raise DataError(f"{word} is not between 0 and 1")
    if not probabilities and value not in (0, 1):
        raise DataError(f"{word} is neither 0 nor 1; is this a prediction?")
    return value
