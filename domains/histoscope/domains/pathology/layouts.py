"""How an input lies on disk: slides, or one of the kinds of labelled tile set; and why that one."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from histoscope.core.errors import DataError, UnreadableSource
from histoscope.core.files import holds_results
from histoscope.core.tables.files import PATH_COLUMNS
from histoscope.core.tables.spreadsheet import header_of, read_sheet
from histoscope.domains.pathology.formats import (
    SLIDE_SUFFIXES,
    is_tile_name,
    suffix_of,
)
from histoscope.domains.pathology.options import Layout
from histoscope.domains.pathology.readers.flat_pyramid import open_picture
from histoscope.domains.pathology.sets import LABEL_COLUMNS, split_of

LARGEST_TILE_PX = 2048
_LOOKED_AT = 3  # pictures of each class


@dataclass(frozen=True)
class Seen:
    """The layout of one root.

    Attributes:
        layout: any but ``auto``; ``slides`` where nothing else is found.
        why_no_set: why folders of pictures are not read as class folders, and what reads them so;
            empty where there are none, or the person said the layout.
        like_tiles: whether these pictures are as small as tiles, so that it may be a mistake.
    """

    layout: Layout
    why_no_set: str = ""
    like_tiles: bool = False


def choose_layout(place: Path, wanted: Layout) -> Seen:
    """The layout of one root.

    Args:
        place: a folder or a file.
        wanted: what the person said; anything but ``auto`` is taken as it is.

    Raises:
        DataError: absent, or a folder that holds two layouts.
    """
    if not place.exists():
        raise DataError(f"{place}: no such file or folder")
    if wanted != "auto":
        return Seen(wanted)
    if place.is_file():
        named: dict[str, Layout] = {".zip": "zip", ".csv": "csv", ".h5": "h5", ".hdf5": "h5"}
        return Seen(named.get(suffix_of(place), "slides"))
    pictures = {path: some for path in class_folders_in(place) if (some := _some_of(path))}
    looked_at = [one for some in pictures.values() for one in some]
    sizes = sorted({size for one in looked_at if (size := _size_of(one))})
    why = _why_no_classes(place, pictures, sizes)
    found = list(_layouts_in(place, class_folders=why is None))
    if len(found) > 1:
        raise DataError(
            f"{place}: holds two layouts, {' and '.join(found)}; say which with --layout"
        )
    like_tiles = bool(sizes) and not _larger_than_tiles(sizes)
    return Seen(found[0]) if found else Seen("slides", why or "", like_tiles)


def _layouts_in(folder: Path, *, class_folders: bool) -> Iterator[Layout]:
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    if h5_pairs(files):
        yield "h5"
    if any(holds_classes(path) for path in files if suffix_of(path) == ".zip"):
        yield "zip"
    if any(is_label_csv(path) for path in files if suffix_of(path) == ".csv"):
        yield "csv"
    elif class_folders:
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


def is_label_csv(path: Path) -> bool:
    """Whether a CSV lists pictures and their labels."""
    header = header_of(path)
    return bool(header & set(PATH_COLUMNS)) and bool(header & set(LABEL_COLUMNS))


def why_no_label_csv(path: Path) -> str:
    """Why a CSV is none that lists pictures and their labels; empty where it is one."""
    try:
        sheet = read_sheet(path)
        sheet.column(*PATH_COLUMNS)
        sheet.column(*LABEL_COLUMNS)
    except DataError as fault:
        return str(fault)
    return ""


def class_folders_in(folder: Path) -> list[Path]:
    """Folders that would be classes: those in it, or in its splits where it has only these."""
    inner = _folders(folder)
    if inner and all(split_of(path.name) for path in inner):
        return [below for path in inner for below in _folders(path)]
    return inner


def empty_class_folders(folder: Path) -> list[Path]:
    """Folders that would be classes, but hold no picture."""
    return [path for path in class_folders_in(folder) if not _some_of(path)]


def _why_no_classes(
    folder: Path, pictures: Mapping[Path, Sequence[Path]], sizes: Sequence[tuple[int, int]]
) -> str | None:
    """Why a folder does not look like class folders of equal, small pictures; None: it does.

    Sections sorted into a folder a patient look alike from outside, so the pictures themselves
    decide. Empty: there is no folder of pictures at all.

    Args:
        folder: the input.
        pictures: a few of each folder that would be a class.
        sizes: width and height of those that could be opened.
    """
    if not pictures:
        return ""
    stray = sorted(one.name for one in folder.iterdir() if one.is_file() and is_tile_name(one.name))
    if stray:
        return f"{stray[0]} lies beside the folders; --layout folders takes them as classes"
    one, *others = sorted({path.name for path in pictures})
    if not others:
        return (
            f"{one} is the only folder; --layout folders takes it as the class, or give it as the "
            "input where the classes are folders in it"
        )
    deep = next((found[0] for path, found in pictures.items() if found[0].parent != path), None)
    if deep is not None:
        return (
            f"folders lie in folders ({deep.parent.relative_to(folder).as_posix()}); "
            "--layout folders takes the first as the class, --layout case-folders the second, and "
            "the first as the case"
        )
    return _why_no_tiles(sizes)


def _why_no_tiles(sizes: Sequence[tuple[int, int]]) -> str | None:
    """Why pictures are no tiles of one size; a damaged one says nothing about that."""
    said = ", ".join(f"{width} x {height}" for width, height in sizes[:2])
    if not sizes:
        return "no picture in them could be opened; --layout folders takes them all the same"
    if len(sizes) > 1:
        return f"pictures are of several sizes ({said} px); --layout folders takes them"
    if _larger_than_tiles(sizes):
        return f"pictures of {said} px are no tiles; --layout folders takes them all the same"
    return None


def _larger_than_tiles(sizes: Sequence[tuple[int, int]]) -> bool:
    return any(max(size) > LARGEST_TILE_PX for size in sizes)


def _some_of(folder: Path, depth: int = 3) -> list[Path]:
    """A few pictures of a folder; those of folders in it where it has none itself."""
    own = (path for path in sorted(folder.iterdir()) if is_tile_name(path.name) and path.is_file())
    found = list(islice(own, _LOOKED_AT))
    inner = _folders(folder) if depth and not found else []
    return found or next(filter(None, (_some_of(one, depth - 1) for one in inner)), [])


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
