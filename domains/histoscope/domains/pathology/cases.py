"""Whose slide it is: from a table or from the path, never guessed."""

from __future__ import annotations

import re

from histoscope.domains.pathology.options import ReadOptions
from histoscope.domains.pathology.spreadsheet import SlideTable


class Cases:
    """Cases by path.

    Args:
        options: ``cases`` (CSV) and ``case_regex``; the table beats the pattern.

    Raises:
        DataError: the CSV is not what it should be.
    """

    def __init__(self, options: ReadOptions) -> None:
        self._table = None if options.cases is None else SlideTable(options.cases, "case")
        self._pattern = None if options.case_regex is None else re.compile(options.case_regex)

    def find(self, relative: str) -> str | None:
        """The case of a slide or tile at this POSIX path below its root, None when unknown."""
        listed = None if self._table is None else self._table.find(relative)
        if listed is not None or self._pattern is None:
            return listed
        match = self._pattern.search(relative)
        return (match.group(1) or None) if match else None
