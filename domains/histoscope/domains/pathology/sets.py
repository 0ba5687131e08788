"""Labelled tile sets: what their members are called, how they are labelled, how one is loaded.

Four layouts: class folders, zips with class folders inside, PatchCamelyon's pairs of HDF5 files,
and a CSV that lists pictures. Nothing is ever extracted from a zip.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from histoscope.core.contracts import Split, Unused
from histoscope.core.errors import DataError, UnreadableSource, printable
from histoscope.core.tables.spreadsheet import read_sheet
from histoscope.domains.pathology.folders import Folders, Say
from histoscope.domains.pathology.formats import is_tile_name
from histoscope.domains.pathology.readers.base import RegionFault
from histoscope.domains.pathology.readers.flat_pyramid import open_picture, rgb_of

LARGEST_MEMBER_BYTES = 256 * 2**20
LARGEST_MEMBER_PX = 64_000_000
SPLITS = {"train": "train", "valid": "valid", "val": "valid", "validation": "valid", "test": "test"}


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
    """

    kind: str
    members: Sequence[Member]
    named: bool

    def load(self, item: int) -> NDArray[np.uint8]:
        """Pixels of one member, (height, width, 3), RGB.

        Raises:
            RegionFault: this member cannot be read.
        """

    def close(self) -> None:
        """Let the file go."""


def split_of(word: str) -> Split | None:
    """``train``, ``valid`` or ``test`` for a word that means one of them."""
    return cast("Split | None", SPLITS.get(word.lower()))


def from_paths(names: Iterable[str]) -> list[Member]:
    """Members by path: ``[split/]class/.../picture``; one folder around all is ignored."""
    ordered = sorted(set(names))
    folders = [PurePosixPath(name).parts[:-1] for name in ordered]
    around = {parts[0] if parts else "" for parts in folders}
    wrapped = len(around) == 1 and all(len(parts) > 1 for parts in folders)
    strip = wrapped and split_of(next(iter(around))) is None
    members = []
    for name, parts in zip(ordered, folders, strict=True):
        left = list(parts[1:] if strip else parts)
        split = split_of(left[0]) if left else None
        if split is not None:
            left = left[1:]
        members.append(Member(name, left[0] if left else None, split))
    return members


class FolderSet:
    """Class folders on disk.

    Args:
        root: the folder that holds them.
    """

    kind = "class folders"
    named = True

    def __init__(self, root: Path) -> None:
        self._root = root
        self.members: Sequence[Member] = from_paths(folder_names(root))

    def load(self, item: int) -> NDArray[np.uint8]:
        """See :class:`TileSet`."""
        return _decode(self._root / self.members[item].name)

    def close(self) -> None:
        """Nothing is held open."""


def folder_names(root: Path, say: Say = lambda unused: None) -> list[str]:
    """Relative POSIX paths of all pictures below a folder, sorted; links are followed.

    Args:
        root: the folder.
        say: is told of each folder and link that is passed over.
    """
    files = _files_below(root, Folders(root, say), say)
    names = (path.relative_to(root).as_posix() for path in files)
    return sorted(name for name in names if is_tile_name(name))


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


class CsvSet(FolderSet):
    """A CSV ``path,label[,case][,split]``, paths relative to the CSV.

    Raises:
        DataError: a column is missing, a path stands twice, or a split is none.
    """

    kind = "csv"

    def __init__(self, path: Path) -> None:
        self._root = path.parent
        sheet = read_sheet(path)
        sheet.column("path")
        sheet.column("label")
        members = dict[str, Member]()
        for line, row in sheet.rows:
            member = _listed(row, where=f"{path}, line {line}")
            if members.setdefault(member.name, member) is not member:
                raise DataError(f"{path}, line {line}: {member.name} stands twice")
        self.members = list(members.values())


def _listed(row: Mapping[str, str], where: str) -> Member:
    word = row.get("split", "")
    split = split_of(word)
    if word and split is None:
        raise DataError(f"{where}: split {word!r}; known: train, valid, test")
    name = row["path"].replace("\\", "/")
    return Member(name, row["label"] or None, split, row.get("case") or None)


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
        self.members: Sequence[Member] = from_paths(
            name for name in self._archive.namelist() if is_tile_name(name)
        )

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


class H5Set:
    """PatchCamelyon's pair: ``x`` uint8 (tiles, height, width, 3), ``y`` (tiles, ...).

    Raises:
        UnreadableSource: not HDF5, cut, or of another shape.
    """

    kind = "h5"
    named = False

    def __init__(self, images: Path, labels: Path) -> None:
        import h5py

        try:
            with h5py.File(labels, "r") as handle:
                classes = np.asarray(handle["y"]).reshape(len(handle["y"]), -1)[:, 0]
            self._file = h5py.File(images, "r")
            self._images = self._file["x"]
        except (OSError, KeyError, ValueError) as fault:
            raise UnreadableSource(f"not a whole PatchCamelyon pair ({_one_line(fault)})") from None
        shape = self._images.shape
        if len(shape) != 4 or shape[3] != 3 or len(classes) != shape[0]:
            self._file.close()
            raise UnreadableSource(f"x has shape {shape} and y {len(classes)} rows")
        self.members: Sequence[Member] = [
            Member(str(row), str(int(value))) for row, value in enumerate(classes)
        ]

    def load(self, item: int) -> NDArray[np.uint8]:
        """See :class:`TileSet`."""
        try:
            return np.asarray(self._images[item], np.uint8)
        except OSError as fault:
            raise RegionFault(_one_line(fault)) from None

    def close(self) -> None:
        """Let the file go."""
        self._file.close()


def _one_line(fault: BaseException) -> str:
    return " ".join(str(fault).split())[:120]


def _decode(file: Path | BytesIO) -> NDArray[np.uint8]:
    if isinstance(file, Path) and not file.is_file():
        raise RegionFault("no such file")
    try:
        with open_picture(file) as picture:
            width, height = picture.size
            if width * height > LARGEST_MEMBER_PX:
                raise RegionFault(f"{width} x {height} px are no tile")
            return rgb_of(picture, file)[0]
    except UnreadableSource as fault:
        raise RegionFault(fault.reason) from None
