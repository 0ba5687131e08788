"""Planes: further pictures of a store's samples, as masks, written with their images or later.

A plane is called ``kind:provider@version``. Its files lie in ``planes/kind-provider@version`` of
the store, one a source, with the rows of that source's shard. Masks are of one bit, and say of
which shard they were made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray

from histoscope.core.data.shard import Shard, write_shard
from histoscope.core.data.store import Store
from histoscope.core.errors import DataError, UsageError
from histoscope.core.files import digest_of_bytes

FOLDER = "planes"
HELD = 256  # files of a plane that are held open
GREY = (128, 128, 128)  # lies behind subjects where nobody said what does
FILL, OF = "fill", "of"
_NAME = re.compile(r"([a-z]+)[:-]([A-Za-z0-9_.-]+@[A-Za-z0-9_.-]+)")
# smaller than Pillow's, whose filter is always none; imagecodecs writes no single bits. Level 9
# would save a tenth of the bytes and take ten times as long at 256 px
_BITS = (
    *(cv2.IMWRITE_PNG_BILEVEL, 1, cv2.IMWRITE_PNG_COMPRESSION, 6),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_FILTERED),
)


class Planes(Protocol):
    """Reads one plane of samples; pickles as paths."""

    def plane(self, row: int) -> NDArray[np.uint8]:
        """That of an index row, (height, width)."""

    def fill(self, row: int) -> NDArray[np.uint8]:
        """RGB of what lies behind subjects in the source of an index row, (3,)."""

    def digest(self) -> str:
        """Of all its files, as of :meth:`histoscope.core.data.shard.Shard.fingerprint`."""


def planes_of(store: Store) -> list[str]:
    """Names of the planes that a store has, of one source at least."""
    folders = (folder for folder in (store.path / FOLDER).glob("*") if any(folder.glob("*.arrow")))
    found = (_NAME.fullmatch(folder.name) for folder in folders)
    return sorted(f"{one[1]}:{one[2]}" for one in found if one)


def plane_folder(store: Store, name: str) -> Path:
    """Where the files of a plane lie. Raises UsageError: it cannot be called so."""
    found = _NAME.fullmatch(name)
    if not found:
        raise UsageError(f"plane {name!r}: a name is KIND:PROVIDER@VERSION")
    return store.path / FOLDER / f"{found[1]}-{found[2]}"


def write_planes(store: Store, name: str, source: str, planes: Iterable[NDArray[np.uint8]]) -> None:
    """Write a plane of one source, in the order of its shard.

    Args:
        store: of the images.
        name: ``kind:provider@version``.
        source: its id.
        planes: uint8, (height, width), as large as the images.
    """
    pictures = (bytes(imagecodecs.png_encode(np.ascontiguousarray(one))) for one in planes)
    write_shard(plane_folder(store, name) / f"{source}.arrow", pictures)


def write_masks(file: Path, masks: Iterable[NDArray[np.bool_]], told: Mapping[str, str]) -> int:
    """Write masks of one source, in the order of its shard; returns how many.

    Args:
        file: of the plane.
        masks: bool, (height, width), as large as the images.
        told: ``fill`` and ``of``, see :func:`told_of`, and what else shall stand beside them.
    """
    return write_shard(file, map(_bits, masks), told)


def told_of(shard: Shard, fill: Sequence[int]) -> dict[str, str]:
    """What masks of a shard say: RGB behind subjects, and of which images they were made."""
    return {FILL: ",".join(str(int(one)) for one in fill), OF: shard.fingerprint()}


def _bits(mask: NDArray[np.bool_]) -> bytes:
    done, data = cv2.imencode(".png", 255 * mask.astype(np.uint8), _BITS)
    assert done
    return data.tobytes()


def shards_of(store: Store) -> dict[str, str]:
    """By source's id the path of its shard in the store, of those that have samples."""
    pairs = store.index.select(["source", "shard"]).drop_null()
    found = pairs.group_by(["source", "shard"], use_threads=False).aggregate([])
    names = (found.column(name).to_pylist() for name in ("source", "shard"))
    return dict(zip(*names, strict=True))


class StorePlanes:
    """A plane of one store."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name, self._folder = store.path, name, plane_folder(store, name)
        self._shards, self._side = shards_of(store), store.sampling.size_px
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
        """See :class:`Planes`; of masks 1 where the subject is, else 0.

        Raises:
            DataError: missing, damaged, or not of these images.
        """
        file = self._of(row)
        return self._decoded(file, int(self._row[row]), int(self._source[row]))

    def check(self, rows: NDArray[np.int64] | None = None) -> None:
        """See that all sources of some index rows, or of all that have an image, have the plane.

        Raises:
            DataError: as :meth:`plane`.
        """
        asked = np.flatnonzero(self._row >= 0) if rows is None else rows
        for source in np.unique(self._source[asked]).tolist():
            self._decoded(self._opened(source), 0, source)

    def _of(self, row: int) -> Shard:
        source = int(self._source[row])
        if source not in self._open:
            if len(self._open) >= HELD:  # each holds a file of the system's few
                del self._open[next(iter(self._open))]
            self._open[source] = self._opened(source)
        return self._open[source]

    def _opened(self, source: int) -> Shard:
        """The file of a source's planes, whose images are those that it was made of."""
        name = self._sources[source]
        images = Shard(self._store / self._shards[name])
        try:
            file = Shard(self._folder / f"{name}.arrow")
            rows = file.rows
        except DataError as fault:
            missing = str(fault).partition(": ")[2].startswith("missing")
            raise self._fault(source, "missing" if missing else "damaged") from None
        if file.told.get(OF) not in (None, images.fingerprint()):
            raise self._fault(source, "made of other images than its source has now")
        if rows != images.rows:
            raise self._fault(source, f"of {rows} images, where its source has {images.rows}")
        return file

    def _decoded(self, file: Shard, at: int, source: int) -> NDArray[np.uint8]:
        try:
            plane: NDArray[np.uint8] = np.asarray(imagecodecs.png_decode(file.data(at)))
        except (DataError, RuntimeError, ValueError, IndexError):  # imagecodecs' are of these kinds
            raise self._fault(source, "damaged") from None
        if plane.shape != (self._side, self._side):
            sides = " x ".join(map(str, plane.shape))
            raise self._fault(source, f"of {sides} px, where images are of {self._side} px")
        return (plane > 0).view(np.uint8) if OF in file.told else plane

    def _fault(self, source: int, what: str) -> DataError:
        kind, _, provider = self._name.partition(":")
        name, _, version = provider.partition("@")
        more = " and the settings they were made with" if "-" in version else ""
        then = f"run 'histoscope masks {self._store} --provider {name}'{more}"
        if kind != "mask":
            then = "write it"
        file = f"{self._folder / self._sources[source]}.arrow"
        left = "; where that fails for this source, leave it out by --split" * (what == "missing")
        return DataError(f"{file}: {what}; {then} again{left}")

    def fill(self, row: int) -> NDArray[np.uint8]:
        """See :class:`Planes`; mid-grey where the plane does not say. Raises as :meth:`plane`."""
        told = self._of(row).told.get(FILL)
        return np.array(GREY if told is None else [int(one) for one in told.split(",")], np.uint8)

    def digest(self) -> str:
        """See :class:`Planes`."""
        files = sorted(self._folder.glob("*.arrow"))
        return digest_of_bytes([Shard(file).fingerprint().encode() for file in files])


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

    def digest(self) -> str:
        """See :class:`Planes`."""
        return digest_of_bytes([one.digest().encode() for one in self._parts])

    def _place(self, row: int) -> int:
        return int(np.searchsorted(self._first, row, side="right")) - 1


def open_planes(
    store: Store, kind: str, asked: str | None, rows: NDArray[np.int64] | None = None
) -> tuple[str, Planes]:
    """The plane of a kind, and its name.

    Args:
        store: one, or several as one, of which each must have it.
        kind: for example ``mask``.
        asked: ``provider@version``, or a provider that has one; None takes the only one.
        rows: index rows whose planes will be read; None: all that have an image.

    Raises:
        UsageError: several, and none asked for.
        DataError: a store has none such, or not of all that will be read, or of other images.
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
    first = np.cumsum([0, *(len(one.index) for one in store.stores)])
    for part, begin, end in zip(parts, first, first[1:], strict=False):
        within = None if rows is None else rows[(rows >= begin) & (rows < end)] - begin
        part.check(within)
    return name, JoinedPlanes(parts, [len(one.index) for one in store.stores])
