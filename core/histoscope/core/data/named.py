"""Sources by what people write: an id, or the path of a file or its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from histoscope.core.errors import DataError
from histoscope.core.tables.names import Files, Naming, listed


class NamedSources:
    """Ids of sources.

    Args:
        manifest: their rows by id, of which each has a ``path``.
        naming: what names of their files have in common.
    """

    def __init__(self, manifest: Mapping[str, Mapping[str, Any]], naming: Naming) -> None:
        self._known = manifest
        self._ids = dict[str, list[str]]()
        for one, row in self._known.items():
            self._ids.setdefault(row["path"], []).append(one)
        self._files = Files(self._ids, naming)

    def id_of(self, name: str, where: str) -> str | None:
        """The id that a name means, None where it is none's.

        Args:
            name: an id, a path or its end.
            where: what holds it, for messages.

        Raises:
            DataError: it is the name of several sources.
        """
        if name in self._known:
            return name
        path = self._files.the_one(name, where)
        if path is None:
            return None
        first, *others = self._ids[path]
        if others:
            raise DataError(
                f"{where}: {name} is the path of several sources; give one of their ids "
                f"({listed([first, *others])})"
            )
        return first
