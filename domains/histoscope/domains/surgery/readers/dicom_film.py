"""The film inside a DICOM file: MPEG or HEVC, in fragments that lie one behind the other."""

from __future__ import annotations

import io
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from histoscope.core.errors import UnreadableSource

PREAMBLE = 128  # bytes before the word that makes a file DICOM
# MPEG-2, H.264 and HEVC, whole or in many fragments (PS3.5, A.4); .110 and on are pictures
FILM_SYNTAX = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.10[0-8](\.1)?")
PIXEL_DATA, ITEM = b"\xe0\x7f\x10\x00", b"\xfe\xff\x00\xe0"
UNDEFINED = 0xFFFFFFFF


class Fragments(io.RawIOBase):
    """Parts of a file, read as one.

    Args:
        path: the file.
        spans: offset and length of each part, bytes, in order.
    """

    def __init__(self, path: Path, spans: list[tuple[int, int]]) -> None:
        self._spans, self._at = spans, 0
        self._size = sum(length for _, length in spans)
        self._file = os.open(path, os.O_RDONLY)

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        if not self.closed:
            os.close(self._file)
        super().close()

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Bytes from the start of the first part."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a byte, counted from the start of the first part."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        """Up to ``size`` bytes; fewer at the end of a part."""
        before = 0
        for offset, length in self._spans:
            inside = self._at - before
            if inside < length:
                wanted = length - inside if size < 0 else min(size, length - inside)
                data = os.pread(self._file, wanted, offset + inside)
                self._at += len(data)
                return data
            before += length
        return b""


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do."""
    with path.open("rb") as handle:
        return handle.read(PREAMBLE + 4)[PREAMBLE:] == b"DICM"


def may_hold_a_film(path: Path) -> bool:
    """Whether a DICOM file holds a film, or several pictures that could be one."""
    import pydicom

    try:
        found = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["NumberOfFrames"])
        several = int(found.get("NumberOfFrames") or 1) > 1
        return several or FILM_SYNTAX.fullmatch(found.file_meta.TransferSyntaxUID) is not None
    except (pydicom.errors.InvalidDicomError, AttributeError, ValueError, OSError):
        return True  # a source all the same, so that its reason is reported


def dicom_film(path: Path) -> Fragments:
    """The film in a DICOM file.

    Raises:
        UnreadableSource: damaged, or its pictures are no film.
    """
    import pydicom

    try:
        with path.open("rb") as handle:
            head = pydicom.dcmread(handle, stop_before_pixels=True, specific_tags=[])
            syntax = head.file_meta.TransferSyntaxUID
            if not FILM_SYNTAX.fullmatch(syntax):
                raise UnreadableSource(
                    f"DICOM whose pictures are no film ({syntax.name}); export it as MP4"
                )
            spans = list(_fragments(handle, path.stat().st_size))
    except (pydicom.errors.InvalidDicomError, AttributeError, struct.error):
        raise UnreadableSource("damaged DICOM; copy it again") from None
    if not spans:
        raise UnreadableSource("DICOM without a film in it; copy it again")
    return Fragments(path, spans)


def _fragments(handle: io.BufferedReader, size: int) -> Iterator[tuple[int, int]]:
    """Offset and length of each fragment behind the table of offsets, which comes first."""
    if handle.read(4) != PIXEL_DATA:
        return
    _, length = struct.unpack("<4sI", handle.read(8))
    if length != UNDEFINED:
        raise UnreadableSource("DICOM whose film is not encapsulated; export it as MP4")
    first = True
    while handle.read(4) == ITEM:
        (length,) = struct.unpack("<I", handle.read(4))
        start = handle.tell()
        if not first and start < size:
            yield start, min(length, size - start)
        handle.seek(length, os.SEEK_CUR)
        first = False
