"""Tables that say something of files, as whose they are."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal

from histoscope.core.contracts import Unused
from histoscope.core.errors import DataError
from histoscope.core.tables.classes import says_nothing
from histoscope.core.tables.names import PLAIN, Files, Naming, listed
from histoscope.core.tables.spreadsheet import read_sheet

PATH_COLUMNS = ("path", "file", "filename")
NEAR = 20  # rows of no file, for which files of a name that is near are looked for
Missing = Literal["source", "drop"]


class FileTable:
    """One value a file, by its path, the end of it, or its name.

    Args:
        path: CSV file with a column that names files: one of ``words``, ``path``, ``file``,
            ``filename``.
        value: name of the value column; an empty cell says nothing.
        words: what the field calls such a file.
        naming: what names of such files have in common.

    Raises:
        DataError: unreadable, a column is missing, or one name stands twice with two values.
    """

    def __init__(
        self, path: Path, value: str, words: Sequence[str] = (), naming: Naming = PLAIN
    ) -> None:
        sheet = read_sheet(path)
        named = sheet.column(*words, *PATH_COLUMNS)
        sheet.column(value)
        self.path, self._naming = path, naming
        self._idle = sheet.others(named, value)
        self._values: dict[str, str] = {}
        self._lines: dict[str, int] = {}
        for line, row in sheet.rows:
            key = row[named]
            if not key or not row[value]:
                continue
            self._lines.setdefault(key, line)
            if self._values.setdefault(key, row[value]) != row[value]:
                raise DataError(
                    f"{path}, line {line}: {key} stands twice with two values of {value}"
                )

    def items(self) -> Mapping[str, str]:
        """All values by what stands in the file column."""
        return self._values

    def line(self, name: str) -> str:
        """Where a name stands, for messages."""
        return f"{self.path}, line {self._lines[name]}"

    def of(self, paths: Sequence[str]) -> tuple[dict[str, str], list[Unused]]:
        """The value of each file that the table names, and rows that name none.

        Args:
            paths: POSIX paths of all files there are, relative to their root.

        Raises:
            DataError: a name may be that of several files, two names of one file have two values,
                or no name is that of any file.
        """
        files = Files(paths, self._naming)
        found, names = dict[str, str](), dict[str, str]()
        unused = [Unused(f"columns of {self.path.name}", one, "not read") for one in self._idle]
        strange = list[str]()
        for name, value in self._values.items():
            path = files.the_one(name, self.line(name))
            if path is None:
                near = files.near(name) if len(strange) < NEAR else []  # it looks at every file
                said = f"no such file here; near: {listed(near)}" if near else "no such file here"
                unused.append(Unused(f"rows of {self.path.name}", name, said))
                strange.append(name)
            elif found.setdefault(path, value) != value:
                raise DataError(
                    f"{self.line(name)}: {names[path]} and {name} are both {path}, with two values"
                )
            else:
                names[path] = name
        if strange and paths and not found:
            raise DataError(
                f"{self.path}: none of its {len(self._values)} rows ({strange[0]}) is one of "
                f"the files here ({paths[0]}); give a file's path, its end, or its name"
            )
        return found, unused


def _check_patients(table: FileTable) -> None:
    for name, case in table.items().items():
        if says_nothing(case):
            raise DataError(
                f"{table.line(name)}: case {case!r}: is that a patient? Leave the cell empty where "
                "the case is unknown"
            )


class Cases:
    """Cases of files.

    Args:
        table: CSV with a column ``case`` and one that names files; it beats the pattern.
        pattern: regular expression on the relative path; its first group is the case.
        words: what the field calls such a file, as the table's column.
        naming: what names of such files have in common.
        missing: what a file is that neither names: a case of its own (``source``), or left out
            (``drop``); None: it may not be, where there is a table.

    Raises:
        DataError: the CSV is not what it should be, or a case is a word for none.
    """

    def __init__(
        self,
        table: Path | None,
        pattern: str | None,
        words: Sequence[str],
        naming: Naming = PLAIN,
        missing: Missing | None = None,
    ) -> None:
        self._table = None if table is None else FileTable(table, "case", words, naming)
        self._pattern = None if pattern is None else re.compile(pattern)
        self._missing = missing
        if self._table is not None:
            _check_patients(self._table)

    def of(
        self, paths: Sequence[str], stated: Collection[str] = ()
    ) -> tuple[dict[str, str | None], list[Unused]]:
        """The case of each file that is taken, None where it is unknown; and what is not used.

        Args:
            paths: POSIX paths of all files there are, relative to their root.
            stated: those whose case is stated elsewhere, if not here.

        Raises:
            DataError: as of :meth:`FileTable.of`, or a file has no case and nobody said what then.
        """
        told, unused = dict[str, str](), list[Unused]()
        if self._table is not None:
            told, unused = self._table.of(paths)
        cases = {path: told.get(path) or self._by_pattern(path) for path in paths}
        nameless = [path for path, case in cases.items() if case is None and path not in stated]
        if self._table is None or not nameless:
            return dict(cases), unused
        if self._missing is None:
            raise DataError(
                f"{self._table.path}: gives no case of {listed(nameless)}; add them, or say with "
                "--missing-cases source that each is a case of its own, or with --missing-cases "
                "drop that they are left out"
            )
        if self._missing == "drop":
            reason = f"no case in {self._table.path.name} (--missing-cases drop)"
            unused += [Unused("files", path, reason) for path in nameless]
            cases = {path: case for path, case in cases.items() if path not in nameless}
        return dict(cases), unused

    def _by_pattern(self, path: str) -> str | None:
        match = self._pattern.search(path) if self._pattern else None
        return (match.group(1) or None) if match else None
