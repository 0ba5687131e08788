"""The few DICOM tags that finding and refusing slides needs; no pixel and no name is read.

Read: SOP class, image type, series, photometric interpretation. The parser walks the top level
of explicit or implicit little-endian files up to the pixels and steps over everything else.
"""

from __future__ import annotations

import contextlib
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

SLIDE_CLASS = "1.2.840.10008.5.1.4.1.1.77.1.6"  # VL Whole Slide Microscopy Image
_IMPLICIT = "1.2.840.10008.1.2"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_UNDEFINED = 0xFFFFFFFF
_WANTED = {
    (0x0008, 0x0008): "image_type",
    (0x0008, 0x0016): "sop_class",
    (0x0020, 0x000E): "series",
    (0x0028, 0x0004): "photometric",
}
_LAST = (0x0028, 0x0004)
_LONGEST_VALUE = 4096


@dataclass(frozen=True)
class DicomHead:
    """What a DICOM file says of itself; empty where it says nothing."""

    sop_class: str = ""
    image_type: str = ""
    series: str = ""
    photometric: str = ""

    @property
    def flavour(self) -> str:
        """Third word of the image type: VOLUME, LABEL, OVERVIEW, THUMBNAIL, ..."""
        words = self.image_type.split("\\")
        return words[2] if len(words) > 2 else ""


def is_dicom(path: Path) -> bool:
    """Whether the file carries the DICOM mark; False when it cannot be read."""
    try:
        with path.open("rb") as handle:
            handle.seek(128)
            return handle.read(4) == b"DICM"
    except OSError:
        return False


def read_head(path: Path) -> DicomHead | None:
    """The wanted tags, as far as the file goes; None when it is no DICOM file."""
    if not is_dicom(path):
        return None
    found: dict[str, str] = {}
    with path.open("rb") as handle:
        handle.seek(132)
        with contextlib.suppress(struct.error, EOFError):  # cut short: what was read still tells
            _walk(handle, found)
    return DicomHead(**found)


def _walk(handle: BinaryIO, found: dict[str, str]) -> None:
    syntax, in_head = "", True
    while True:
        place = handle.tell()
        group, element = struct.unpack("<HH", handle.read(4))
        if in_head and group != 0x0002:
            in_head = False
            if syntax == _BIG_ENDIAN:
                return
        if (group, element) > _LAST:
            return
        implicit = syntax == _IMPLICIT and not in_head
        length = _length(handle, implicit=implicit)
        if length == _UNDEFINED:
            _skip_sequence(handle, implicit=implicit)
            continue
        name = _WANTED.get((group, element))
        if (group, element) == (0x0002, 0x0010):
            syntax = _text(handle.read(length))
        elif name and length <= _LONGEST_VALUE:
            found[name] = _text(handle.read(length))
        else:
            handle.seek(length, 1)
        if handle.tell() <= place:
            raise EOFError


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace").strip("\0 ")


def _length(handle: BinaryIO, *, implicit: bool) -> int:
    if implicit:
        return int(struct.unpack("<I", handle.read(4))[0])
    kind = handle.read(2)
    if kind in _LONG:
        handle.seek(2, 1)
        return int(struct.unpack("<I", handle.read(4))[0])
    return int(struct.unpack("<H", handle.read(2))[0])


def _skip_sequence(handle: BinaryIO, *, implicit: bool) -> None:
    """Step over the items of a sequence of undefined length, nested ones included."""
    while True:
        group, element, length = struct.unpack("<HHI", handle.read(8))
        if (group, element) == (0xFFFE, 0xE0DD):
            return
        if (group, element) != (0xFFFE, 0xE000):
            raise EOFError  # not a sequence after all
        if length != _UNDEFINED:
            handle.seek(length, 1)
        else:
            _skip_item(handle, implicit=implicit)


def _skip_item(handle: BinaryIO, *, implicit: bool) -> None:
    while True:
        group, element = struct.unpack("<HH", handle.read(4))
        if (group, element) == (0xFFFE, 0xE00D):
            handle.seek(4, 1)
            return
        length = _length(handle, implicit=implicit)
        if length == _UNDEFINED:
            _skip_sequence(handle, implicit=implicit)
        else:
            handle.seek(length, 1)
