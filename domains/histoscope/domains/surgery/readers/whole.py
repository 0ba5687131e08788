"""Whether a video's file has all the bytes that it says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import IO

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_BOXES = (
    *(b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"uuid", b"meta", b"udta", b"pnot"),
    *(b"styp", b"sidx", b"moof", b"mfra", b"emsg", b"prft"),  # of files in fragments
)
_HEAD = 16  # bytes of a head, at most


def said_bytes(path: Path) -> int:
    """How long a file says it is at least, in bytes; where it does not say, how long it is.

    MP4 and QuickTime by their outermost boxes (ISO/IEC 14496-12, 4.2), Matroska by its segment
    (RFC 8794, 6), AVI by its RIFF chunks. A file whose index stands at its beginning opens also
    where the end is missing, as of an upload that broke off.

    Args:
        path: the video.
    """
    length = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[4:8] in _BOXES:
            return _of_boxes(file, length)
        if head[:4] == _EBML:
            return _of_segment(file, length)
        if head[:4] == b"RIFF":
            return max(length, 8 + int.from_bytes(head[4:8], "little"))
    return length


def _of_boxes(file: IO[bytes], length: int) -> int:
    place = 0
    while place + 8 <= length:
        file.seek(place)
        head = file.read(_HEAD)
        size = int.from_bytes(head[:4], "big")
        if head[4:8] not in _BOXES:
            return length  # recorders and others write something of their own behind the last box
        if size == 1:  # the size stands behind the name
            size = int.from_bytes(head[8:16], "big")
        if size < 8:  # 0: to the end; the others are no sizes
            return length
        place += size
    return max(place, length)


def _of_segment(file: IO[bytes], length: int) -> int:
    file.seek(4)
    size, place = _number(file)
    file.seek(place + size)
    if file.read(4) != _SEGMENT:
        return length
    size, place = _number(file)
    return length if size < 0 else max(length, place + size)


def _number(file: IO[bytes]) -> tuple[int, int]:
    """A length as EBML writes it, -1 where it is unknown, and the place behind it."""
    first = file.read(1)
    width = 9 - first[0].bit_length() if first else 9
    if width > 8:
        return -1, file.tell()
    value = int.from_bytes(first + file.read(width - 1), "big") & ((1 << 7 * width) - 1)
    return (-1 if value == (1 << 7 * width) - 1 else value), file.tell()
