"""Labelled tile sets below a root, one source each; :func:`open_set` opens the one of a source."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from histoscope.core.contracts import Source, Split, Unused
from histoscope.core.errors import DataError, printable
from histoscope.core.files import digest_of_bytes, middle_of
from histoscope.domains.pathology.discovery import identify
from histoscope.domains.pathology.formats import suffix_of
from histoscope.domains.pathology.h5_set import H5Set
from histoscope.domains.pathology.layouts import (
    empty_class_folders,
    h5_pairs,
    holds_classes,
    is_label_csv,
    why_no_label_csv,
)
from histoscope.domains.pathology.options import Layout
from histoscope.domains.pathology.sets import (
    CsvSet,
    FolderSet,
    TileSet,
    ZipSet,
    folder_names,
    split_of,
)


def find_sets(root: str, place: Path, layout: Layout) -> Iterator[Source | Unused]:
    """One source a zip, a pair of HDF5 files, a CSV, or a root of class folders.

    What is passed over below class folders comes before them.

    Raises:
        DataError: the root does not hold this layout.
    """
    files = [place] if place.is_file() else sorted(p for p in place.iterdir() if p.is_file())
    if layout in ("folders", "case-folders"):
        yield from _folder_source(root, place, layout)
        return
    found = list(_of_layout(files, place, layout))
    if not found:
        lists = [path for path in files if suffix_of(path) == ".csv"] if layout == "csv" else []
        whys = [why for path in lists if (why := why_no_label_csv(path))]
        raise DataError("; ".join(whys) or f"{place}: nothing of layout {layout} here")
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
        for images, labels in h5_pairs(beside):
            if images in files or labels in files:
                yield images, (images, labels)
        return
    fits = holds_classes if layout == "zip" else is_label_csv
    for path in files:
        if suffix_of(path) == f".{layout}" and (path == place or fits(path)):
            yield path, (path,)


def _folder_source(root: str, place: Path, layout: Layout) -> Iterator[Source | Unused]:
    if place.is_file():
        raise DataError(f"{place}: a file, where --layout {layout} needs a folder")
    passed = list[Unused]()
    names = folder_names(place, passed.append)
    yield from passed
    if not names:
        raise DataError(f"{place}: no picture below it")
    if layout == "folders":
        for folder in empty_class_folders(place):
            yield Unused("class folders", printable(folder.name), "no picture in it")
    how = "class folders" if layout == "folders" else "class folders in a folder for each case"
    note = f"read as {how}; --layout slides reads every picture as a section of its own"
    identity = _of_pictures(place, names)
    yield Source(identity, ".", root, f"set-{layout}", note=note, independent=True)


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
    if kind in ("set-folders", "set-case-folders"):
        return FolderSet(path, by_case=kind == "set-case-folders")
    if kind == "set-zip":
        return ZipSet(path)
    if kind == "set-csv":
        return CsvSet(path)
    return H5Set(path, path.with_name(path.stem.removesuffix("x") + "y" + path.suffix))
