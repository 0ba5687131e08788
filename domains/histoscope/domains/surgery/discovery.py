"""Find operations below a folder: videos, parts that belong together, folders of frames."""

from __future__ import annotations

import codecs
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from histoscope.core.contracts import Source, Split
from histoscope.core.errors import UsageError
from histoscope.core.files import fingerprint
from histoscope.domains.surgery.label_files import PHASE_FOLDER, TOOL_FOLDER
from histoscope.domains.surgery.options import ReadOptions
from histoscope.domains.surgery.readers.dicom_film import is_dicom, may_hold_a_film
from histoscope.domains.surgery.readers.frame_folder import SUFFIXES, frames_in
from histoscope.domains.surgery.video_files import VIDEO_SUFFIXES, Key, natural_key

DICOM_SUFFIXES = frozenset({"", ".dcm", ".dicom"})  # DICOM files often have no suffix
SPLITS: Mapping[str, Split] = {"train": "train", "valid": "valid", "val": "valid", "test": "test"}
VIDEO_WORDS = ("video", "operation")  # what CSV files call such a file
VIDEO, PARTS, FRAMES, CLOSED = "video", "parts", "frames", "closed"
FEWEST_FRAMES = 2
# suffixes that other files have, too: music's, which begin otherwise, and a programming language's
STARTS: Mapping[str, bytes] = {".mod": b"\0\0\1"}
OF_TEXTS = frozenset({".ts"})
LOOKED_AT = 1024  # bytes, by which a text is told
FEW = (
    5  # bytes, below which nothing tells it; a packet of a transport stream has a zero among these
)


@dataclass(frozen=True)
class Operation:
    """Files of one operation.

    Attributes:
        kind: ``video``, ``parts``, ``frames``, or ``closed``: a folder that cannot be listed, or a
            pipe.
        path: the file, the first part, or the folder.
        parts: all parts in order; the file itself, or the folder.
        name: what label files call it.
    """

    kind: str
    path: Path
    parts: tuple[Path, ...]
    name: str


def find_operations(
    root: str, place: Path, options: ReadOptions
) -> Iterator[tuple[Source, Operation]]:
    """One source an operation below ``place``, in natural order.

    A folder that cannot be listed is a source too, so that its reason is reported.

    Args:
        root: the root's name.
        place: a folder or one file.
        options: ``part_regex`` joins parts.
    """
    base = place.parent if place.is_file() else place
    for one in operations(place, options.part_regex):
        relative = one.path.relative_to(base)
        path = relative.as_posix()
        source = Source(
            id=_identify(one, path),
            path=path,
            root=root,
            kind=one.kind,
            case=case_of_layout(one),
            split=_split_of(relative),
            note=f"{len(one.parts)} parts joined" if len(one.parts) > 1 else "",
        )
        yield source, one


def operations(place: Path, part_regex: str | None) -> list[Operation]:
    """Operations at a place, files and folders of frames, in natural order of their paths."""
    if place.is_file():
        return _join([place], part_regex)
    files, closed = _walk(place)
    found = _join([path for path in files if _is_video(path)], part_regex)
    folders = sorted({path.parent for path in files if path.suffix.lower() in SUFFIXES})
    found += [_folder(FRAMES, one) for one in folders if len(frames_in(one)) >= FEWEST_FRAMES]
    found += [_folder(CLOSED, one) for one in closed]
    return sorted(found, key=lambda one: natural_key(one.path.relative_to(place).as_posix()))


def _folder(kind: str, path: Path) -> Operation:
    return Operation(kind, path, (path,), path.absolute().name)


def _walk(place: Path) -> tuple[list[Path], list[Path]]:
    """Files below a folder, sorted, links followed once; and what is neither file nor listable."""
    files, closed, entered, waiting = list[Path](), list[Path](), set[Path](), [place]
    while waiting:
        folder = waiting.pop()
        if folder.resolve() in entered:
            continue  # a link that leads back
        entered.add(folder.resolve())
        try:
            entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
            inside = {path for path in entries if path.is_dir()}
            pipes = {path for path in entries if path.exists() and not path.is_file()} - inside
        except OSError:
            closed.append(folder)
            continue
        waiting += sorted(inside, reverse=True)
        closed += sorted(path for path in pipes if path.suffix.lower() in VIDEO_SUFFIXES)
        files += [path for path in entries if path not in inside | pipes]
    return sorted(files), closed


def _join(videos: list[Path], part_regex: str | None) -> list[Operation]:
    if part_regex is None:
        return [Operation(VIDEO, path, (path,), path.stem) for path in videos]
    groups: dict[tuple[Path, str], list[tuple[Key, Path]]] = {}
    for path in videos:
        name, number = _part_of(path, part_regex)
        groups.setdefault((path.parent, name), []).append((number, path))
    out = []
    for (_, name), numbered in groups.items():
        numbered.sort()
        _check_parts(name, numbered)
        parts = tuple(path for _, path in numbered)
        out.append(Operation(PARTS if len(parts) > 1 else VIDEO, parts[0], parts, name))
    return out


def _part_of(path: Path, part_regex: str) -> tuple[str, Key]:
    """The operation of a part, and its number; without a number it is the first.

    Raises:
        UsageError: the pattern fits, but its first group does not.
    """
    match = re.search(part_regex, path.stem)
    if match is None:
        return path.stem, ()
    name, number = match.group(1, 2)
    if name is None:
        raise UsageError(
            f"--part-regex {part_regex}: fits {path.name}, but its first group, the operation, "
            "does not; put what all parts share into that group"
        )
    return name, natural_key(number or "")


def _check_parts(name: str, numbered: list[tuple[Key, Path]]) -> None:
    """Refuse two parts of one number. Raises UsageError."""
    for (number, path), (other, second) in pairwise(numbered):
        if number == other:
            raise UsageError(
                f"--part-regex: {path.name} and {second.name} are the same part of {name}; "
                "keep one, or give a pattern that tells them apart"
            )


def label_folder(path: Path) -> Path | None:
    """The nearest folder above that holds Cholec80's annotation folders."""
    for folder in path.absolute().parents:
        if (folder / PHASE_FOLDER).is_dir() or (folder / TOOL_FOLDER).is_dir():
            return folder
    return None


def case_of_layout(one: Operation) -> str | None:
    """In Cholec80's layout every video is one operation of one patient; elsewhere unknown."""
    known = re.fullmatch(r"video\d+", one.name) and label_folder(one.path)
    return one.name if known else None


def _is_video(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix not in VIDEO_SUFFIXES | DICOM_SUFFIXES or path.name.startswith("."):
        return False
    try:
        if suffix in DICOM_SUFFIXES:
            return is_dicom(path) and may_hold_a_film(path)
        if suffix not in STARTS.keys() | OF_TEXTS:
            return True
        with path.open("rb") as handle:
            start = handle.read(LOOKED_AT)
        is_text = len(start) >= FEW and _is_text(start)
        return not start or (not is_text and start.startswith(STARTS.get(suffix, b"")))
    except OSError:
        return suffix in VIDEO_SUFFIXES  # a source all the same, so that its reason is reported


def _is_text(start: bytes) -> bool:
    """Whether a file begins as a text in UTF-8 does: a video has zeros, also a damaged one."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return b"\0" not in start


def _split_of(relative: Path) -> Split | None:
    found = (SPLITS.get(part.lower()) for part in relative.parts[:-1])
    return next(filter(None, found), None)


def _identify(one: Operation, relative: str) -> str:
    """Of names and content; of the path where that cannot be read."""
    try:
        return _digest(one)
    except OSError:
        return hashlib.blake2b(os.fsencode(relative), digest_size=8).hexdigest()


def _digest(one: Operation) -> str:
    if one.kind == FRAMES:
        paths = frames_in(one.path)
        digest = hashlib.blake2b(
            os.fsencode(one.name) + f"\0{len(paths)}\0".encode(), digest_size=8
        )
        for path in (paths[0], paths[len(paths) // 2], paths[-1]):
            digest.update(fingerprint(path).encode())
        return digest.hexdigest()
    if len(one.parts) == 1:
        return fingerprint(one.path)
    joined = "".join(fingerprint(path) for path in one.parts)
    return hashlib.blake2b(joined.encode(), digest_size=8).hexdigest()
