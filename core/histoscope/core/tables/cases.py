"""Whose source it is: from a table or from the path, never guessed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from histoscope.core.tables.spreadsheet import PathTable


class Cases:
    """Cases by path.

    Args:
        table: CSV with a column ``case`` and one that names files; it beats the pattern.
        pattern: regular expression on the relative path; its first group is the case.
        words: what the field calls such a file, as the table's column.

    Raises:
        DataError: the CSV is not what it should be.
    """

    def __init__(self, table: Path | None, pattern: str | None, words: Sequence[str]) -> None:
        self._table = None if table is None else PathTable(table, "case", words)
        self._pattern = None if pattern is None else re.compile(pattern)

    def check_used(self) -> None:
        """See that the table speaks of any of the files that were asked for.

        Raises:
            DataError: of none.
        """
        if self._table is not None:
            self._table.check_used()

    def find(self, relative: str) -> str | None:
        """The case of what lies at this POSIX path below its root, None when unknown."""
        listed = None if self._table is None else self._table.find(relative)
        if listed is not None or self._pattern is None:
            return listed
        match = self._pattern.search(relative)
        return (match.group(1) or None) if match else None
