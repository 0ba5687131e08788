"""CSV files that people write: BOM, semicolons, tabs and odd headers tolerated."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from histoscope.core.errors import DataError

_SEPARATOR = re.compile(r"sep=(.)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Sheet:
    """What a CSV file holds.

    Attributes:
        path: the file, for messages.
        names: of its columns, as they are written; those without a name are left out.
        rows: the number of the line where a row begins, and its cells by lower-case name of their
            columns; empty rows are left out.
    """

    path: Path
    names: Sequence[str]
    rows: Sequence[tuple[int, Mapping[str, str]]]

    def column(self, *wanted: str) -> str:
        """The first of ``wanted``, all lower-case, that is a column's name.

        Raises:
            DataError: none of them is.
        """
        known = {name.lower() for name in self.names}
        for name in wanted:
            if name in known:
                return name
        has = ", ".join(self.names)
        raise DataError(f"{self.path}: no column {' or '.join(wanted)} (it has {has})")

    def others(self, *read: str) -> list[str]:
        """Names of columns that are none of those that are read, which are lower-case."""
        return [name for name in self.names if name.lower() not in read]


def read_sheet(path: Path) -> Sheet:
    """Read a CSV file; empty cells beyond the last column are tolerated.

    Raises:
        DataError: absent, not text, not CSV, a column's name stands twice, or a row has more cells
            than there are columns.
    """
    try:
        text = _text(path.read_bytes())
    except OSError as fault:
        raise DataError(f"{path}: {fault.strerror or fault}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8 text; save it as CSV UTF-8") from None
    delimiter = _delimiter(text.partition("\n")[0])
    lines = _lines(path, text, delimiter)
    if _SEPARATOR.match(text):
        next(lines)
    names = next(lines, (1, []))[1]
    if not names:
        raise DataError(f"{path}: empty, or its first line names no column")
    lower = [name.lower() for name in names if name]
    if len(set(lower)) < len(lower):
        raise DataError(f"{path}: a column's name stands twice")
    rows = []
    for line, cells in lines:
        if len(cells) > len(names):
            raise DataError(
                f"{path}, line {line}: {len(cells)} cells under {len(names)} names of columns; "
                f"put a cell that holds {delimiter!r} in quotation marks"
            )
        if cells:
            cells += [""] * (len(names) - len(cells))
            pairs = zip(names, cells, strict=True)
            rows.append((line, {name.lower(): cell for name, cell in pairs if name}))
    return Sheet(path, list(filter(None, names)), rows)


def _text(data: bytes, *, whole: bool = True) -> str:
    """UTF-8, or UTF-16 where its byte order mark says so, as spreadsheets' Unicode text.

    Of the beginning of a file the last character may be cut.
    """
    utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    decoder = codecs.getincrementaldecoder("utf-16" if utf_16 else "utf-8-sig")()
    text = decoder.decode(data, final=whole)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _delimiter(header: str) -> str:
    """That of the first line: named there, as ``sep=;``, or the one that is in it most often."""
    if named := _SEPARATOR.match(header):
        return named[1]
    return max(",;\t", key=header.count)


def _lines(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Cells up to the last that is not empty, with the number of the line where they begin."""
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    line = 1
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            while cells and not cells[-1]:
                cells.pop()
            yield line, cells
            line = reader.line_num + 1
    except csv.Error as fault:
        raise DataError(
            f"{path}, line {line}: not CSV ({fault}); is a quotation mark left open?"
        ) from None


def header_of(path: Path) -> set[str]:
    """Lower-case column names of a CSV file; empty when it is no readable text."""
    try:
        with path.open("rb") as handle:
            text = _text(handle.read(65536), whole=False)
    except (OSError, UnicodeDecodeError):
        return set()
    first, *more = text.splitlines()[:2] or [""]
    names = more[0] if more and _SEPARATOR.match(first) else first
    return {name.strip().strip('"').lower() for name in names.split(_delimiter(first))}
