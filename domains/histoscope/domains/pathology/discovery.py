"""Find slides and section pictures below a folder, one source each, in a stable order.

A DICOM slide of several files is one source, and so is a MIRAX file with its folder. What is
plainly no picture (text, tables, annotations) is passed over; what should be one and does not
open becomes a source all the same, so that its reason is reported.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from histoscope.core.contracts import Roots, Source, Unused, locate
from histoscope.core.errors import DataError
from histoscope.core.files import content_of, digest_of_bytes, fingerprint
from histoscope.domains.pathology.dicom import DicomHead, is_dicom, read_head
from histoscope.domains.pathology.folders import Folders, look_alikes
from histoscope.domains.pathology.formats import (
    DICOM_SUFFIXES,
    PICTURE_SUFFIXES,
    SLIDE_SUFFIXES,
    TIFF_SUFFIXES,
    TILE_SUFFIXES,
    TO_CONVERT,
    may_be_bare_dicom,
    suffix_of,
)

_FRAMED = {".vms", ".vmu"}  # text files that name the pictures which belong to them


def find_slides(root: str, place: Path) -> Iterator[Source | Unused]:
    """One source a slide or picture below ``place``, behind what is passed over.

    Args:
        root: the root's name.
        place: its folder, or one file.

    Raises:
        DataError: ``place`` does not exist or cannot be listed.
    """
    base = place.parent if place.is_file() else place
    same: dict[str, list[Path]] = {}
    passed = list[Unused]()
    files = list([place] if place.is_file() else _walk(place, Folders(place, passed.append)))
    passed += look_alikes(path.relative_to(base) for path in files)
    for path, members in _group(files):
        same.setdefault(identify(members, base), []).append(path)
    yield from passed
    for identity, paths in same.items():
        relative, *others = (path.relative_to(base).as_posix() for path in paths)
        kind = "image" if suffix_of(paths[0]) in PICTURE_SUFFIXES else "slide"
        note = f"the same content lies in {', '.join(others)}" if others else ""
        source = Source(identity, relative, root, kind, note=note)
        yield from _one_a_scan(source, paths[0])


def _one_a_scan(source: Source, path: Path) -> Iterator[Source]:
    """A file's source, and one more for each further scan in it; what is not read is noted."""
    from histoscope.domains.pathology.readers.tiff_scans import scans_in

    is_tiff = source.kind == "slide" and suffix_of(path) in TIFF_SUFFIXES and path.is_file()
    numbers, left = scans_in(path) if is_tiff else ((), "")
    first, *others = numbers or [0]
    said = [source.note, f"image {first} of its file" if others else "", left]
    yield replace(source, note="; ".join(filter(None, said)))
    for number in others:
        identity = digest_of_bytes([source.id.encode(), str(number).encode()])
        name, note = f"{source.path}#{number}", f"image {number} of its file"
        yield replace(source, id=identity, path=name, kind=f"slide-{number}", note=note)


def image_number(source: Source) -> int | None:
    """Which image of its file a source is, None for the first scan."""
    match = re.fullmatch(r"slide-(\d+)", source.kind)
    return int(match[1]) if match else None


def file_of(source: Source, roots: Roots) -> Path:
    """Where the file of a source lies on this machine."""
    number = image_number(source)
    name = source.path if number is None else source.path.removesuffix(f"#{number}")
    return locate(replace(source, path=name), roots)


def files_of(source: Source, roots: Roots) -> Sequence[Path]:
    """All files that a slide or picture is read from; none where others beside it may count."""
    path = file_of(source, roots)
    suffix = suffix_of(path)
    several = suffix in {*_FRAMED, *DICOM_SUFFIXES, *TO_CONVERT} or may_be_bare_dicom(path)
    if several or source.kind.startswith("set-") or not path.is_file():
        return ()
    companions = path.with_suffix("").rglob("*") if suffix == ".mrxs" else ()
    return (path, *sorted(one for one in companions if one.is_file()))


def identify(members: Sequence[Path], base: Path) -> str:
    """Opaque id of one or several files, 16 hex digits; of the path where none can be read."""
    try:
        digests = sorted(fingerprint(path) for path in members)
    except OSError:
        digests = [path.relative_to(base).as_posix() for path in members]
    if len(digests) == 1 and len(digests[0]) == 16:
        return digests[0]
    return hashlib.blake2b(
        "\0".join(digests).encode("utf-8", "surrogateescape"), digest_size=8
    ).hexdigest()


def _walk(folder: Path, entered: Folders, *, first: bool = True) -> Iterator[Path]:
    """Files in sorted order, and folders that cannot be listed, lest these be lost without a word.

    A MIRAX slide's own folder is not entered.
    """
    try:
        entries = entered.enter(folder)
        folders = {path for path in entries if path.is_dir()}
    except OSError as fault:
        if first:
            raise DataError(f"{folder}: {fault.strerror or fault}") from None
        yield folder
        return
    companions = {path.stem for path in entries if suffix_of(path) == ".mrxs"}
    framed = _framed(entries)
    for path in entries:
        if path in folders:
            if path.name not in companions:
                yield from _walk(path, entered, first=False)
        elif path.name not in framed:
            yield path


def _framed(entries: Sequence[Path]) -> set[str]:
    """Names of the pictures that belong to a Hamamatsu VMS or VMU file of this folder."""
    names: set[str] = set()
    for path in entries:
        if suffix_of(path) in _FRAMED and path.is_file():
            text = content_of(path).decode("utf-8", errors="replace")
            names |= {line.partition("=")[2].strip() for line in text.splitlines()}
    return names - {""}


def _group(files: Iterable[Path]) -> list[tuple[Path, tuple[Path, ...]]]:
    """The file that is opened and all, sorted, that identify it, one pair a source."""
    series: dict[tuple[Path, str], list[tuple[Path, DicomHead]]] = {}
    found = list[tuple[Path, tuple[Path, ...]]]()
    for path in files:
        if path.exists() and not path.is_file():  # closed, or a pipe, which waits for its reader
            found.append((path, (path,)))
            continue
        suffix = suffix_of(path)
        bare = suffix not in SLIDE_SUFFIXES | TILE_SUFFIXES and may_be_bare_dicom(path)
        head = read_head(path) if bare or suffix in DICOM_SUFFIXES else None
        if head is not None and head.series:
            series.setdefault((path.parent, head.series), []).append((path, head))
        elif suffix in SLIDE_SUFFIXES | TILE_SUFFIXES or (bare and is_dicom(path)):
            found.append((path, _with_companions(path)))
    for members in series.values():  # opened by a file that holds a level, where one does
        volumes = [path for path, head in members if head.flavour == "VOLUME"]
        paths = tuple(sorted(path for path, _ in members))
        found.append((min(volumes, default=paths[0]), paths))
    return sorted(found, key=lambda pair: pair[0].as_posix())


def _with_companions(path: Path) -> tuple[Path, ...]:
    """A MIRAX file is a small preview; what tells slides apart is in its folder."""
    settings = path.with_suffix("") / "Slidedat.ini"
    return (path, settings) if suffix_of(path) == ".mrxs" and settings.is_file() else (path,)
