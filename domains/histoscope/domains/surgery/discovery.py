"""Find operations below a folder: videos, parts that belong together, folders of frames."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from histoscope.core.contracts import Source, Split
from histoscope.core.data.cases import Cases
from histoscope.core.files import fingerprint
from histoscope.domains.surgery.labels import PHASE_FOLDER, TOOL_FOLDER
from histoscope.domains.surgery.options import ReadOptions
from histoscope.domains.surgery.readers.frame_folder import SUFFIXES, frames_in
from histoscope.domains.surgery.video_files import natural_key

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".webm"}
    | {".wmv", ".vob", ".asf", ".flv"}
)
SPLITS = {"train": "train", "valid": "valid", "val": "valid", "test": "test"}
VIDEO_WORDS = ("video", "operation")  # what CSV files call such a file
FEWEST_FRAMES = 2
MPEG_TS = 0x47  # first byte of a transport stream: ".ts" is also a programming language's


@dataclass(frozen=True)
class Operation:
    """Files of one operation.

    Attributes:
        kind: ``video``, ``parts`` or ``frames``.
        path: the file, the first part, or the folder of frames.
        parts: all parts in order; the file itself, or the folder.
        name: what label files call it.
    """

    kind: str
    path: Path
    parts: tuple[Path, ...]
    name: str


def find_operations(root: str, place: Path, options: ReadOptions, cases: Cases) -> Iterator[Source]:
    """One source an operation below ``place``, in natural order.

    Args:
        root: the root's name.
        place: a folder or one file.
        options: ``part_regex`` joins parts.
        cases: whose operation is whose.
    """
    base = place.parent if place.is_file() else place
    for one in operations(place, options.part_regex):
        relative = one.path.relative_to(base)
        path = relative.as_posix()
        yield Source(
            id=_identify(one),
            path=path,
            root=root,
            kind=one.kind,
            case=cases.find(path) or case_of_layout(one),
            split=_split_of(relative),
            note=f"{len(one.parts)} parts joined" if len(one.parts) > 1 else "",
        )


def operations(place: Path, part_regex: str | None) -> list[Operation]:
    """Operations at a place, files and folders of frames, in natural order of their paths."""
    if place.is_file():
        return [Operation("video", place, (place,), place.stem)]
    videos = [path for path in sorted(place.rglob("*")) if _is_video(path)]
    folders = sorted({path.parent for path in place.rglob("*") if path.suffix.lower() in SUFFIXES})
    found = _join(videos, part_regex)
    found += [
        Operation("frames", folder, (folder,), folder.name)
        for folder in folders
        if len(frames_in(folder)) >= FEWEST_FRAMES
    ]
    return sorted(found, key=lambda one: natural_key(one.path.relative_to(place).as_posix()))


def _join(videos: list[Path], part_regex: str | None) -> list[Operation]:
    if part_regex is None:
        return [Operation("video", path, (path,), path.stem) for path in videos]
    groups: dict[tuple[Path, str], list[Path]] = {}
    for path in videos:
        match = re.search(part_regex, path.stem)
        groups.setdefault((path.parent, match.group(1) if match else path.stem), []).append(path)
    out = []
    for (_, name), paths in groups.items():
        parts = tuple(sorted(paths, key=lambda path: _part_key(path, part_regex)))
        out.append(Operation("parts" if len(parts) > 1 else "video", parts[0], parts, name))
    return out


def _part_key(path: Path, part_regex: str) -> tuple[tuple[int, str], ...]:
    match = re.search(part_regex, path.stem)
    return natural_key(match.group(2) if match else path.stem)


def operation_at(path: Path, kind: str, part_regex: str | None) -> Operation:
    """The operation that a source's path stands for, its further parts found beside it."""
    if kind == "frames":
        return Operation(kind, path, (path,), path.name)
    beside = [one for one in sorted(path.parent.iterdir()) if _is_video(one)]
    found = _join(beside if path in beside else [path], part_regex)
    return next(one for one in found if path in one.parts)


def label_folder(path: Path) -> Path | None:
    """The nearest folder above that holds Cholec80's annotation folders."""
    for folder in path.parents:
        if (folder / PHASE_FOLDER).is_dir() or (folder / TOOL_FOLDER).is_dir():
            return folder
    return None


def case_of_layout(one: Operation) -> str | None:
    """In Cholec80's layout every video is one operation of one patient; elsewhere unknown."""
    known = re.fullmatch(r"video\d+", one.name) and label_folder(one.path)
    return one.name if known else None


def _is_video(path: Path) -> bool:
    if path.suffix.lower() not in VIDEO_SUFFIXES or path.name.startswith(".") or path.is_dir():
        return False
    if path.suffix.lower() != ".ts":
        return True
    with path.open("rb") as handle:
        return handle.read(1)[:1] in (b"", bytes([MPEG_TS]))


def _split_of(relative: Path) -> Split | None:
    for part in relative.parts[:-1]:
        if part.lower() in SPLITS:
            return cast(Split, SPLITS[part.lower()])
    return None


def _identify(one: Operation) -> str:
    if one.kind == "frames":
        paths = frames_in(one.path)
        digest = hashlib.blake2b(f"{one.name}\0{len(paths)}\0".encode(), digest_size=8)
        for path in (paths[0], paths[len(paths) // 2], paths[-1]):
            digest.update(fingerprint(path).encode())
        return digest.hexdigest()
    if len(one.parts) == 1:
        return fingerprint(one.path)
    joined = "".join(fingerprint(path) for path in one.parts)
    return hashlib.blake2b(joined.encode(), digest_size=8).hexdigest()
