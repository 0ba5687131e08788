"""Small CSV files that people write by hand: BOM, semicolons, tabs and odd headers tolerated."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from histoscope.core.errors import DataError

PATH_COLUMNS = ("path", "file", "filename")


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file by lower-case column name; empty lines are left out.

    Raises:
        DataError: absent, not text, or without a header.
    """
    text, delimiter = text_of(path)
    lines = text.splitlines()
    if not lines:
        raise DataError(f"{path}: empty")
    reader = csv.DictReader(lines, delimiter=delimiter)
    names = [(name or "").strip().lower() for name in reader.fieldnames or []]
    reader.fieldnames = names
    return [
        {name: (row.get(name) or "").strip() for name in names}
        for row in reader
        if any((value or "").strip() for value in row.values() if not isinstance(value, list))
    ]


def text_of(path: Path) -> tuple[str, str]:
    """The text of a CSV file and what divides its columns.

    Raises:
        DataError: absent, or not text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as fault:
        raise DataError(f"{path}: {fault.strerror or fault}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8 text; save it as CSV UTF-8") from None
    return text, max(",;\t", key=text.partition("\n")[0].count)


def header_of(path: Path) -> set[str]:
    """Lower-case column names of a CSV file; empty when it is no readable text."""
    try:
        with path.open(encoding="utf-8-sig") as handle:
            first = handle.readline(65536)
    except (OSError, UnicodeDecodeError):
        return set()
    delimiter = max(",;\t", key=first.count)
    return {name.strip().strip('"').lower() for name in first.split(delimiter)}


def column(path: Path, names: Iterable[str], wanted: Iterable[str]) -> str:
    """The first of ``wanted`` that stands among ``names``.

    Raises:
        DataError: none of them does.
    """
    known = set(names)
    for name in wanted:
        if name in known:
            return name
    raise DataError(f"{path}: no column {' or '.join(wanted)} (it has {', '.join(sorted(known))})")


class PathTable:
    """One value a file, found by relative path, by file name or by file name without suffix.

    Args:
        path: CSV file with a column that names files: one of ``words``, ``path``, ``file``,
            ``filename``.
        value: name of the value column.
        words: what the field calls such a file.

    Raises:
        DataError: unreadable, a column is missing, or one file stands twice with two values.
    """

    def __init__(self, path: Path, value: str, words: Sequence[str] = ()) -> None:
        rows = read_rows(path)
        names = rows[0].keys() if rows else header_of(path)
        named = column(path, names, (*words, *PATH_COLUMNS))
        column(path, names, (value,))
        self._path, self._listed, self._unlisted = path, False, ""
        self._values: dict[str, str] = {}
        for row in rows:
            key = row[named].replace("\\", "/").removeprefix("./")
            if not key or not row[value]:
                continue
            if self._values.setdefault(key, row[value]) != row[value]:
                raise DataError(f"{path}: {key} stands twice with two values of {value}")

    def find(self, relative: str) -> str | None:
        """The value for a file at this POSIX path relative to its root, or None."""
        place = PurePosixPath(relative)
        for key in (relative, place.name, str(place.with_suffix("")), place.stem):
            if key in self._values:
                self._listed = True
                return self._values[key]
        self._unlisted = self._unlisted or relative
        return None

    def check_used(self) -> None:
        """See that the table speaks of any of the files that were asked for.

        Raises:
            DataError: of none: naming one of its rows and one of the files.
        """
        if self._values and self._unlisted and not self._listed:
            raise DataError(
                f"{self._path}: none of its {len(self._values)} rows ({next(iter(self._values))}) "
                f"is one of the files here ({self._unlisted}); give a file's path, its name, or "
                "its name without suffix"
            )

    def items(self) -> Mapping[str, str]:
        """All values by what stands in the file column."""
        return self._values
