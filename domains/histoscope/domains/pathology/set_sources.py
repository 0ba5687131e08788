"""How an input lies on disk, slides or one of four kinds of labelled tile set; sets are found here.

A set is one source; :func:`open_set` opens the one that a source stands for.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from histoscope.core.contracts import Source, Split, Unused
from histoscope.core.errors import DataError, UnreadableSource
from histoscope.core.files import digest_of_bytes, holds_results, middle_of
from histoscope.core.tables.spreadsheet import header_of
from histoscope.domains.pathology.discovery import identify
from histoscope.domains.pathology.formats import (
    SLIDE_SUFFIXES,
    TILE_SUFFIXES,
    is_tile_name,
    suffix_of,
)
from histoscope.domains.pathology.options import Layout
from histoscope.domains.pathology.readers.flat_pyramid import open_picture
from histoscope.domains.pathology.sets import (
    CsvSet,
    FolderSet,
    H5Set,
    TileSet,
    ZipSet,
    folder_names,
    split_of,
)

LARGEST_TILE_PX = 2048
_LOOKED_AT = 3


def choose_layout(place: Path, wanted: Layout) -> Layout:
    """The layout of one root.

    Args:
        place: a folder or a file.
        wanted: what the person said; anything but ``auto`` is taken as it is.

    Returns:
        Any layout but ``auto``; ``slides`` when nothing else is found.

    Raises:
        DataError: absent, or a folder that holds two layouts.
    """
    if not place.exists():
        raise DataError(f"{place}: no such file or folder")
    if wanted != "auto":
        return wanted
    if place.is_file():
        named: dict[str, Layout] = {".zip": "zip", ".csv": "csv", ".h5": "h5", ".hdf5": "h5"}
        return named.get(suffix_of(place), "slides")
    found = list(_layouts_in(place))
    if len(found) > 1:
        raise DataError(
            f"{place}: holds two layouts, {' and '.join(found)}; say which with --layout"
        )
    return found[0] if found else "slides"


def _layouts_in(folder: Path) -> Iterator[Layout]:
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    if _h5_pairs(files):
        yield "h5"
    if any(_holds_classes(path) for path in files if suffix_of(path) == ".zip"):
        yield "zip"
    if any(_is_label_csv(path) for path in files if suffix_of(path) == ".csv"):
        yield "csv"
    elif _is_class_folder(folder):
        yield "folders"
    if any(suffix_of(path) in SLIDE_SUFFIXES for path in islice(folder.rglob("*"), 10_000)):
        yield "slides"


def _h5_pairs(files: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Files ``*x.h5`` with their ``*y.h5``, in PatchCamelyon's manner."""
    known = set(files)
    pairs = []
    for path in files:
        if suffix_of(path) in (".h5", ".hdf5") and path.stem.endswith("_x"):
            partner = path.with_name(path.stem.removesuffix("x") + "y" + path.suffix)
            if partner in known:
                pairs.append((path, partner))
    return pairs


def _holds_classes(path: Path) -> bool:
    """Whether a zip holds pictures inside folders."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(is_tile_name(name) and "/" in name for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def _is_label_csv(path: Path) -> bool:
    """Whether a CSV lists pictures and their labels."""
    return {"path", "label"} <= header_of(path)


def _is_class_folder(folder: Path) -> bool:
    """Whether a folder looks like class folders of equal, small pictures.

    Sections sorted into a folder a patient look alike from outside, so the pictures themselves
    decide: a few of every class are looked at, and all must have one size of at most 2048 px.
    """
    if any(suffix_of(path) in TILE_SUFFIXES for path in folder.iterdir() if path.is_file()):
        return False
    inner = _folders(folder)
    if inner and all(split_of(path.name) for path in inner):
        inner = [below for path in inner for below in _folders(path)]
    if len({path.name for path in inner}) < 2:
        return False
    sizes = set[tuple[int, int] | None]()
    for path in inner:
        tiles = islice(
            (one for one in sorted(path.iterdir()) if is_tile_name(one.name)), _LOOKED_AT
        )
        found = [_size_of(one) for one in tiles]
        if not found:
            return False
        sizes |= set(found)
    sizes.discard(None)  # a damaged tile says nothing about the layout
    return len(sizes) == 1 and all(max(size) <= LARGEST_TILE_PX for size in sizes if size)


def _folders(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.iterdir())
        if path.is_dir() and not path.name.startswith((".", "__MACOSX")) and not holds_results(path)
    ]


def _size_of(path: Path) -> tuple[int, int] | None:
    try:
        with open_picture(path) as picture:
            return picture.size
    except UnreadableSource:
        return None


def find_sets(root: str, place: Path, layout: Layout) -> Iterator[Source | Unused]:
    """One source a zip, a pair of HDF5 files, a CSV, or a root of class folders.

    What is passed over below class folders comes before them.

    Raises:
        DataError: the root does not hold this layout.
    """
    files = [place] if place.is_file() else sorted(p for p in place.iterdir() if p.is_file())
    if layout == "folders":
        yield from _folder_source(root, place)
        return
    found = list(_of_layout(files, place, layout))
    if not found:
        raise DataError(f"{place}: nothing of layout {layout} here")
    for path, members in found:
        yield Source(
            id=_of_list(path) if layout == "csv" else identify(members, path.parent),
            path=path.name,
            root=root,
            kind=f"set-{layout}",
            split=_split_in(path.stem),
            independent=True,
        )


def _of_layout(
    files: list[Path], place: Path, layout: Layout
) -> Iterator[tuple[Path, tuple[Path, ...]]]:
    """The file that is opened, and the files that identify the set."""
    if layout == "h5":
        beside = sorted(place.parent.iterdir()) if place.is_file() else files
        for images, labels in _h5_pairs(beside):
            if images in files or labels in files:
                yield images, (images, labels)
        return
    fits = _holds_classes if layout == "zip" else _is_label_csv
    for path in files:
        if suffix_of(path) == f".{layout}" and (path == place or fits(path)):
            yield path, (path,)


def _folder_source(root: str, place: Path) -> Iterator[Source | Unused]:
    if place.is_file():
        raise DataError(f"{place}: a file, where --layout folders needs a folder")
    passed = list[Unused]()
    names = folder_names(place, passed.append)
    yield from passed
    if not names:
        raise DataError(f"{place}: no picture below it")
    note = "read as class folders; --layout slides reads every picture as a section of its own"
    identity = _of_pictures(place, names)
    yield Source(identity, ".", root, "set-folders", note=note, independent=True)


def _of_pictures(folder: Path, names: Sequence[str], first: str = "") -> str:
    """Identity of pictures: their names and sizes, and a block from the middle of each."""
    parts = [first.encode()]
    for name in names:
        parts += [os.fsencode(name), middle_of(folder / name)]
    return digest_of_bytes(parts)


def _of_list(path: Path) -> str:
    """Identity of a CSV set: of the file and of the pictures that it names."""
    itself = identify((path,), path.parent)
    try:
        names = [member.name for member in CsvSet(path).members]
    except DataError:
        return itself  # reading it says why
    return _of_pictures(path.parent, names, itself)


def _split_in(stem: str) -> Split | None:
    """The split that a file's name states as a word, for example ``..._split_train_x``."""
    found = {split for word in stem.replace("-", "_").split("_") if (split := split_of(word))}
    return found.pop() if len(found) == 1 else None


def open_set(path: Path, kind: str) -> TileSet:
    """Open a set found by :func:`find_sets`.

    Raises:
        UnreadableSource: damaged.
        DataError: a CSV that is not what it should be.
    """
    if kind == "set-folders":
        return FolderSet(path)
    if kind == "set-zip":
        return ZipSet(path)
    if kind == "set-csv":
        return CsvSet(path)
    return H5Set(path, path.with_name(path.stem.removesuffix("x") + "y" + path.suffix))
