"""Which file speaks of which video: ``video41-phase.txt`` and ``video41_pred.txt`` of video41."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from histoscope.core.errors import DataError
from histoscope.core.tables.names import Naming
from histoscope.domains.surgery.text_rows import is_at, is_header

# What annotation folders and prediction scripts hang behind a video's name.
ENDING = re.compile(
    r"[-_. ](phases?|tools?|timestamps?|preds?|predictions?|predicted|gt|truth)$", re.IGNORECASE
)
LOOKED_AT = 20  # lines from the start
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mp4v", ".mov", ".qt", ".3gp", ".3gpp", ".3g2", ".f4v", ".mj2"}  # MP4's kin
    | {".avi", ".divx", ".xvid", ".mkv", ".mk3d", ".webm", ".ogv", ".ogm", ".flv", ".nut", ".ivf"}
    | {".wmv", ".asf", ".wtv", ".rm", ".rmvb", ".amv", ".dav", ".mxf", ".gxf", ".dv", ".dif"}
    | {".mpg", ".mpeg", ".mpe", ".mpv", ".m1v", ".m2v", ".m2p", ".vob", ".vro", ".evo", ".mod"}
    | {".ts", ".m2ts", ".mts", ".m2t", ".trp", ".tp", ".tod"}
    | {".264", ".h264", ".avc", ".265", ".h265", ".hevc", ".mjpg", ".mjpeg", ".y4m"}
)
NAMING = Naming(sorted(VIDEO_SUFFIXES), padded=True)
Key = tuple[tuple[int, str], ...]
OTHER_KIND = {"phase": ("tool",), "tool": ("phase", "timestamp")}


def video_name(path: Path) -> str:
    """The video that a file speaks of: its name without suffix and without known endings."""
    return _split(path)[0]


def natural_key(name: str) -> Key:
    """Sorts ``video9`` before ``video10``; equal for ``video07`` and ``Video7``."""
    parts = re.findall(r"\d+|\D+", name.casefold())
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)


def video_files(folder: Path, kind: str) -> dict[str, Path]:
    """Text files of a folder by video name, in natural order.

    Files in the folder itself; where it has none, files anywhere below. Left out are files of the
    other kind, files without a number in their name and in their first lines (``readme.txt``), and
    clock times of a video that also has frame numbers.

    Args:
        folder: where to look.
        kind: ``"phase"`` or ``"tool"``.

    Raises:
        DataError: no folder, no file, or two files of one video.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    found = _files(folder.iterdir(), kind) or _files(folder.rglob("*"), kind)
    if not found:
        raise DataError(f"{folder}: no {kind} files in it; expected videoNN-{kind}.txt")
    named = [path for path in found if any(end.startswith("tool") for end in _split(path)[1])]
    found = named or found  # beside videoNN-tool.txt a bare videoNN.txt holds phases
    chosen: dict[Key, Path] = {}
    for path in sorted(found, key=_is_clock):
        key = natural_key(video_name(path))
        if key not in chosen:
            chosen[key] = path
        elif _is_clock(path) == _is_clock(chosen[key]):
            raise DataError(
                f"{folder}: {chosen[key].relative_to(folder)} and {path.relative_to(folder)} are "
                "of the same video; keep one"
            )
    return {video_name(chosen[key]): chosen[key] for key in sorted(chosen)}


def _files(paths: Iterable[Path], kind: str) -> list[Path]:
    return sorted(path for path in paths if path.is_file() and _is_wanted(path, kind))


def _is_wanted(path: Path, kind: str) -> bool:
    name, endings = _split(path)
    return (
        path.suffix.casefold() == ".txt"
        and not path.name.startswith(".")
        and not any(end.startswith(other) for end in endings for other in OTHER_KIND[kind])
        and (any(letter.isdecimal() for letter in name) or _holds_rows(path))
    )


def _holds_rows(path: Path) -> bool:
    """Whether a text file begins with a header or a frame's row, and goes on with one."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as handle:
            lines = [line for line in islice(handle, LOOKED_AT) if line.strip()][:2]
    except OSError:
        return False
    rows = [is_at(line.split()[0]) for line in lines]
    return len(lines) > 1 and rows[1] and (is_header(lines[0]) or rows[0])


def _is_clock(path: Path) -> bool:
    return any(end.startswith("timestamp") for end in _split(path)[1])


def _split(path: Path) -> tuple[str, list[str]]:
    name, endings = path.stem, []
    while (match := ENDING.search(name)) is not None:
        name = name[: match.start()]
        endings.append(match.group(1).casefold())
    return name, endings
