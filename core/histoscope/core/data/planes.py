"""Planes: further pictures of a store's samples, as masks, written with their images or later.

A plane is called ``kind:provider@version``. Its files lie in ``planes/kind-provider@version`` of
the store, one a source, with the rows of that source's shard.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from histoscope.core.data.shard import Shard, write_shard
from histoscope.core.data.store import Store
from histoscope.core.errors import DataError, UsageError

FOLDER = "planes"
_NAME = re.compile(r"([a-z]+)[:-]([A-Za-z0-9_.-]+@[A-Za-z0-9_.-]+)")


class Planes(Protocol):
    """Reads one plane of samples; pickles as paths."""

    def plane(self, row: int) -> NDArray[np.uint8]:
        """That of an index row, (height, width)."""

    def fill(self, row: int) -> NDArray[np.uint8]:
        """RGB of what lies behind subjects in the source of an index row, (3,)."""


def planes_of(store: Store) -> list[str]:
    """Names of the planes that a store has."""
    found = (_NAME.fullmatch(folder.name) for folder in (store.path / FOLDER).glob("*"))
    return sorted(f"{one[1]}:{one[2]}" for one in found if one)


def write_planes(store: Store, name: str, source: str, planes: Iterable[NDArray[np.uint8]]) -> None:
    """Write a plane of one source, in the order of its shard.

    Args:
        store: of the images.
        name: ``kind:provider@version``.
        source: its id.
        planes: uint8, (height, width), as large as the images.
    """
    pictures = (bytes(imagecodecs.png_encode(np.ascontiguousarray(one))) for one in planes)
    write_shard(_folder(store.path, name) / f"{source}.arrow", pictures)


class StorePlanes:
    """A plane of one store."""

    def __init__(self, store: Store, name: str) -> None:
        self._folder = _folder(store.path, name)
        sources = store.index.column("source").combine_chunks().dictionary_encode()
        self._sources: list[str] = sources.dictionary.to_pylist()
        self._source = sources.indices.to_numpy()
        rows = store.index.column("row").combine_chunks()
        self._row = rows.fill_null(-1).to_numpy(zero_copy_only=False)
        self._open: dict[int, Shard] = {}

    def __getstate__(self) -> dict[str, object]:
        """Leave the open files behind."""
        return {**self.__dict__, "_open": {}}

    def plane(self, row: int) -> NDArray[np.uint8]:
        """See :class:`Planes`. Raises DataError: its file is missing or damaged."""
        source = int(self._source[row])
        if source not in self._open:
            self._open[source] = Shard(self._folder / f"{self._sources[source]}.arrow")
        return np.asarray(imagecodecs.png_decode(self._open[source].data(int(self._row[row]))))

    def fill(self, row: int) -> NDArray[np.uint8]:
        """See :class:`Planes`."""
        return np.full(3, 128, np.uint8)


class JoinedPlanes:
    """A plane of several stores, by row of their joined index."""

    def __init__(self, parts: Sequence[Planes], sizes: Sequence[int]) -> None:
        self._parts, self._first = parts, np.cumsum([0, *sizes])

    def plane(self, row: int) -> NDArray[np.uint8]:
        """See :class:`Planes`."""
        place = self._place(row)
        return self._parts[place].plane(row - int(self._first[place]))

    def fill(self, row: int) -> NDArray[np.uint8]:
        """See :class:`Planes`."""
        place = self._place(row)
        return self._parts[place].fill(row - int(self._first[place]))

    def _place(self, row: int) -> int:
        return int(np.searchsorted(self._first, row, side="right")) - 1


def open_planes(store: Store, kind: str, asked: str | None) -> tuple[str, Planes]:
    """The plane of a kind, and its name.

    Args:
        store: one, or several as one, of which each must have it.
        kind: for example ``mask``.
        asked: ``provider@version``, or a provider that has one; None takes the only one.

    Raises:
        UsageError: several, and none asked for.
        DataError: a store has none such.
    """
    name = f"{kind}:{asked}" if asked and "@" in asked else None
    for one in store.stores:
        known = [plane for plane in planes_of(one) if plane.startswith(f"{kind}:")]
        meant = [plane for plane in known if asked is None or plane.startswith(f"{kind}:{asked}@")]
        if name is None and len(meant) > 1:
            raise UsageError(f"planes.{kind}: {one.path} has {', '.join(meant)}; name one")
        name = name or (meant[0] if meant else None)
        if name not in known:
            raise DataError(
                f"{one.path}: has no plane {name or ':'.join(filter(None, [kind, asked]))} "
                f"(of that kind: {', '.join(known) or 'none'}); 'histoscope masks' makes one"
            )
    assert name is not None
    parts = [StorePlanes(one, name) for one in store.stores]
    return name, JoinedPlanes(parts, [len(one.index) for one in store.stores])


def _folder(store: Path, name: str) -> Path:
    found = _NAME.fullmatch(name)
    if not found:
        raise UsageError(f"plane {name!r}: a name is KIND:PROVIDER@VERSION")
    return store / FOLDER / f"{found[1]}-{found[2]}"
