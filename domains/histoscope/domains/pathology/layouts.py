"""How an input lies on disk: slides, or one of four kinds of labelled tile set."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath

from histoscope.core.errors import DataError, UnreadableSource
from histoscope.core.tables.spreadsheet import header_of
from histoscope.domains.pathology.formats import SLIDE_SUFFIXES, TILE_SUFFIXES, suffix_of
from histoscope.domains.pathology.options import Layout

SPLITS = {"train": "train", "valid": "valid", "val": "valid", "validation": "valid", "test": "test"}
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
    if h5_pairs(files):
        yield "h5"
    if any(holds_classes(path) for path in files if suffix_of(path) == ".zip"):
        yield "zip"
    if any(is_label_csv(path) for path in files if suffix_of(path) == ".csv"):
        yield "csv"
    elif is_class_folder(folder):
        yield "folders"
    if any(suffix_of(path) in SLIDE_SUFFIXES for path in islice(folder.rglob("*"), 10_000)):
        yield "slides"


def h5_pairs(files: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Files ``*x.h5`` with their ``*y.h5``, in PatchCamelyon's manner."""
    known = set(files)
    pairs = []
    for path in files:
        if suffix_of(path) in (".h5", ".hdf5") and path.stem.endswith("_x"):
            partner = path.with_name(path.stem.removesuffix("x") + "y" + path.suffix)
            if partner in known:
                pairs.append((path, partner))
    return pairs


def holds_classes(path: Path) -> bool:
    """Whether a zip holds pictures inside folders."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(is_tile_name(name) and "/" in name for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def is_tile_name(name: str) -> bool:
    """Whether a member's name is that of a picture and not a hidden file."""
    place = PurePosixPath(name)
    hidden = any(part.startswith((".", "__MACOSX")) for part in place.parts)
    return suffix_of(place) in TILE_SUFFIXES and not hidden


def is_label_csv(path: Path) -> bool:
    """Whether a CSV lists pictures and their labels."""
    return {"path", "label"} <= header_of(path)


def is_class_folder(folder: Path) -> bool:
    """Whether a folder looks like class folders of equal, small pictures.

    Sections sorted into a folder a patient look alike from outside, so the pictures themselves
    decide: a few of every class are looked at, and all must have one size of at most 2048 px.
    """
    if any(suffix_of(path) in TILE_SUFFIXES for path in folder.iterdir() if path.is_file()):
        return False
    inner = _folders(folder)
    if inner and all(path.name.lower() in SPLITS for path in inner):
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
        if path.is_dir() and not path.name.startswith((".", "__MACOSX"))
    ]


def _size_of(path: Path) -> tuple[int, int] | None:
    from histoscope.domains.pathology.readers.flat_pyramid import open_picture

    try:
        with open_picture(path) as picture:
            return picture.size
    except UnreadableSource:
        return None
