"""Sources of a store by what people write: an id, or the path of a file or its end."""

from __future__ import annotations

from histoscope.core.data.store import Store
from histoscope.core.errors import DataError
from histoscope.core.tables.names import Files, listed


class NamedSources:
    """Ids of a store's sources.

    Args:
        store: whose manifest knows them.
    """

    def __init__(self, store: Store) -> None:
        self._known = store.manifest
        self._ids = dict[str, list[str]]()
        for one, row in self._known.items():
            self._ids.setdefault(row["path"], []).append(one)
        self._files = Files(self._ids, store.naming)

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
