"""Lines of the text files that annotation tools and other people's scripts write."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from histoscope.core.errors import DataError

CLOCK = re.compile(r"(\d+):([0-5]?\d):([0-5]?\d(?:[.,]\d+)?)")
HEADER_WORDS = ("frame", "frames", "time", "timestamp")


def numbered_lines(path: Path) -> list[tuple[int, str]]:
    """Lines that are not blank, with their number from 1; any line ends, with or without BOM.

    Raises:
        DataError: absent, not UTF-8 text, or without a line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as fault:
        raise DataError(f"{path}: {fault.strerror or fault}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8 text; save it as UTF-8") from None
    lines = [pair for pair in enumerate(text.splitlines(), 1) if pair[1].strip()]
    if not lines:
        raise DataError(f"{path}: empty; give a file with one row a frame, or leave it out")
    return lines


def is_header(line: str) -> bool:
    """Whether a line names columns: its first word is ``Frame`` or the like."""
    return line.split()[0].lstrip("#").casefold() in HEADER_WORDS


def is_frame_number(text: str) -> bool:
    """Whether a word is a whole number from 0 that 64 bits hold."""
    return text.isdecimal() and len(text) <= 15


def is_at(text: str) -> bool:
    """Whether a word says a row's moment: a frame's number or a clock time."""
    return is_frame_number(text) or CLOCK.fullmatch(text) is not None


def check_order(path: Path, numbers: Sequence[int], at: Sequence[float]) -> None:
    """Refuse rows that do not follow one another.

    Args:
        path: named in the message.
        numbers: line number of each row.
        at: frame number or seconds of each row.

    Raises:
        DataError: one row stands at the same place as the row before, or earlier.
    """
    for place in range(1, len(at)):
        if at[place] <= at[place - 1]:
            what = "twice" if at[place] == at[place - 1] else "after a later one"
            raise DataError(
                f"{path}, line {numbers[place]}: frame {at[place]} comes {what}; "
                "sort the rows and keep one a frame"
            )
