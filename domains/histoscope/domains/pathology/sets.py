"""Labelled tile sets: what their members are called, how they are labelled, how one is loaded.

Class folders, zips with class folders inside, and a CSV that lists pictures; pairs of HDF5 files
are in :mod:`.h5_set`. Nothing is ever extracted from a zip.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from histoscope.core.contracts import Split, Unused
from histoscope.core.errors import DataError, UnreadableSource, printable
from histoscope.core.tables.files import PATH_COLUMNS
from histoscope.core.tables.names import Files, as_path, listed
from histoscope.core.tables.spreadsheet import read_sheet
from histoscope.domains.pathology.folders import Folders, Say, look_alikes
from histoscope.domains.pathology.formats import NAMING, is_tile_name
from histoscope.domains.pathology.readers.base import RegionFault
from histoscope.domains.pathology.readers.flat_pyramid import open_picture, rgb_of

LARGEST_MEMBER_BYTES = 256 * 2**20
LARGEST_MEMBER_PX = 64_000_000
SPLITS: Mapping[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "val", "validation", "dev"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
}
LABEL_COLUMNS = ("label", "class")  # what a CSV calls the class of a picture


@dataclass(frozen=True)
class Member:
    """One picture of a set.

    Attributes:
        name: path inside the set; the row number in an HDF5 file.
        label: class name, None when unknown.
        split: train, valid or test, None when there is none.
        case: case as the set itself states it.
    """

    name: str
    label: str | None = None
    split: Split | None = None
    case: str | None = None


class TileSet(Protocol):
    """An open set.

    Attributes:
        kind: which layout, for the facts.
        members: in reading order.
        named: whether members have paths (an HDF5 file has row numbers only).
        notes: what was chosen or converted.
    """

    kind: str
    members: Sequence[Member]
    named: bool
    notes: Sequence[str]

    def load(self, item: int) -> NDArray[np.uint8]:
        """Pixels of one member, (height, width, 3), RGB.

        Raises:
            RegionFault: this member cannot be read.
        """

    def close(self) -> None:
        """Let the file go."""


def split_of(word: str) -> Split | None:
    """``train``, ``valid`` or ``test`` for a word that means one of them."""
    return SPLITS.get(word.lower())


def from_paths(names: Iterable[str], around: str = "", *, by_case: bool = False) -> list[Member]:
    """Members by path: ``[split/]class/.../picture``, sorted.

    Args:
        names: POSIX paths of the pictures.
        around: a folder around all, which is no part of this.
        by_case: ``[split/]case/class/.../picture`` instead.
    """
    members = []
    for name in sorted(set(names)):
        left = list(PurePosixPath(name).parts[:-1])
        left = left[1:] if around else left
        split = split_of(left[0]) if left else None
        left = left if split is None else left[1:]
        case = left.pop(0) if by_case and left else None
        members.append(Member(name, left[0] if left else None, split, case))
    return members


def folder_around(names: Iterable[str]) -> str:
    """The one folder that holds all others, empty where there is none or it is a split's."""
    folders = [PurePosixPath(name).parts[:-1] for name in names]
    first = {parts[0] if parts else "" for parts in folders}
    wrapped = len(first) == 1 and all(len(parts) > 1 for parts in folders)
    return name if wrapped and split_of(name := first.pop()) is None else ""


class FolderSet:
    """Class folders on disk.

    Args:
        root: the folder that holds them.
        by_case: whether they lie in a folder for each case.
    """

    named = True

    def __init__(self, root: Path, *, by_case: bool = False) -> None:
        self._root = root
        self.kind = "class folders of cases" if by_case else "class folders"
        self.members: Sequence[Member] = from_paths(folder_names(root), by_case=by_case)
        self.notes: Sequence[str] = list(self._remarks(by_case))

    def _remarks(self, by_case: bool) -> Iterator[str]:
        stray = [one.name for one in self.members if one.label is None]
        if stray:
            yield f"{len(stray)} pictures lie in no folder of a class: no label ({listed(stray)})"
        known = {one.label for one in self.members if one.label}
        deep = [
            PurePosixPath(one.name).parent.as_posix()
            for one in self.members
            if one.name.count("/") > 1 + by_case + (one.split is not None)
        ]
        if deep:
            yield f"classes are {listed(sorted(known))}; folders in them mean nothing ({deep[0]})"

    def load(self, item: int) -> NDArray[np.uint8]:
        """See :class:`TileSet`."""
        return _decode(self._root / self.members[item].name)

    def close(self) -> None:
        """Nothing is held open."""


def folder_names(root: Path, say: Say = lambda unused: None) -> list[str]:
    """Relative POSIX paths of all pictures below a folder, sorted; links are followed.

    Args:
        root: the folder.
        say: is told of each folder, link and file like a picture that is passed over.
    """
    files = [path.relative_to(root) for path in _files_below(root, Folders(root, say), say)]
    for one in look_alikes(files):
        say(one)
    return sorted(path.as_posix() for path in files if is_tile_name(path.as_posix()))


def _files_below(folder: Path, entered: Folders, say: Say) -> Iterator[Path]:
    """All that is no folder; of links to nothing, too, which loading will say."""
    try:
        entries = entered.enter(folder)
    except OSError as fault:
        reason = f"cannot be listed ({fault.strerror}); its pictures are left out"
        say(Unused("folders and links", printable(folder.name), reason))
        return
    for path in entries:
        if path.is_dir():
            yield from _files_below(path, entered, say)
        else:
            yield path


class CsvSet:
    """A CSV of pictures and classes, paths relative to the CSV.

    Its columns are ``path`` (or ``file``, ``filename``) and ``label`` (or ``class``), and, if one
    likes, ``case`` and ``split``. A path that is no file's may be the end of one, or lack its
    suffix; see :class:`~histoscope.core.tables.names.Files`.

    Raises:
        DataError: a column is missing, a picture stands twice, a split is none, a path may be that
            of several pictures, or no picture is there.
    """

    kind = "csv"
    named = True

    def __init__(self, path: Path) -> None:
        self._root = path.parent
        sheet = read_sheet(path)
        named, labelled = sheet.column(*PATH_COLUMNS), sheet.column(*LABEL_COLUMNS)
        places = _Places(self._root)
        members = dict[str, Member]()
        for line, row in sheet.rows:
            where = f"{path}, line {line}"
            name = places.of(row[named], where)
            member = Member(
                name, row[labelled] or None, _split(row, where), row.get("case") or None
            )
            if members.setdefault(name, member) is not member:
                raise DataError(f"{where}: {name} stands twice")
        if members and not any((self._root / name).is_file() for name in members):
            raise DataError(
                f"{path}: none of its {len(members)} pictures is there ({next(iter(members))}); "
                "paths are relative to the folder of the CSV"
            )
        self.members: Sequence[Member] = list(members.values())
        idle = sheet.others(named, labelled, "case", "split")
        said = [f"columns not read: {listed(idle)}"] if idle else []
        self.notes: Sequence[str] = [*places.notes(), *said]

    def load(self, item: int) -> NDArray[np.uint8]:
        """See :class:`TileSet`."""
        return _decode(self._root / self.members[item].name)

    def close(self) -> None:
        """Nothing is held open."""


class _Places:
    """Where the pictures lie that a table names."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._completed = dict[str, str]()

    @cached_property
    def _known(self) -> Files:
        return Files(folder_names(self._root), NAMING)

    def of(self, name: str, where: str) -> str:
        """The path of a picture as it lies there; as it is written where there is none."""
        path = as_path(name)
        if (self._root / path).is_file():
            return path
        found = self._known.the_one(path, where)
        if found is None:
            return path
        self._completed[name] = found
        return found

    def notes(self) -> list[str]:
        """How many names were completed, with the first."""
        for name, path in self._completed.items():
            return [f"{len(self._completed)} paths were completed, as {name} to {path}"]
        return []


def _split(row: Mapping[str, str], where: str) -> Split | None:
    word = row.get("split", "")
    split = split_of(word)
    if word and split is None:
        raise DataError(f"{where}: split {word!r}; known: train, valid, test")
    return split


class ZipSet:
    """Class folders inside a zip.

    Raises:
        UnreadableSource: not a whole zip.
    """

    kind = "zip"
    named = True

    def __init__(self, path: Path) -> None:
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as fault:
            raise UnreadableSource(f"not a whole zip file ({fault})") from None
        names = [name for name in self._archive.namelist() if is_tile_name(name)]
        around = folder_around(names)
        self.members: Sequence[Member] = from_paths(names, around)
        self.notes: Sequence[str] = [f"{around} is taken as a folder around all"] if around else []

    def load(self, item: int) -> NDArray[np.uint8]:
        """See :class:`TileSet`."""
        info = self._archive.getinfo(self.members[item].name)
        if info.file_size > LARGEST_MEMBER_BYTES:
            raise RegionFault(f"{info.file_size} bytes are no tile")
        try:
            data = self._archive.read(info)
        except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError) as fault:
            raise RegionFault(f"damaged in the zip ({type(fault).__name__})") from None
        return _decode(BytesIO(data))

    def close(self) -> None:
        """Let the file go."""
        self._archive.close()


def _decode(file: Path | BytesIO) -> NDArray[np.uint8]:
    if isinstance(file, Path) and not file.is_file():
        raise RegionFault(f"no such file: {printable(file.name)}")
    try:
        with open_picture(file) as picture:
            width, height = picture.size
            if width * height > LARGEST_MEMBER_PX:
                raise RegionFault(f"{width} x {height} px are no tile")
            return rgb_of(picture, file)[0]
    except UnreadableSource as fault:
        raise RegionFault(fault.reason) from None
