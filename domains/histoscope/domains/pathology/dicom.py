"""The few DICOM tags that finding and refusing slides needs; no pixel and no name is read."""

from __future__ import annotations

import contextlib
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

SLIDE_CLASS = "1.2.840.10008.5.1.4.1.1.77.1.6"  # VL Whole Slide Microscopy Image
_SYNTAX = 0x00020010
_WANTED = {
    0x00080008: "image_type",
    0x00080016: "sop_class",
    0x0020000E: "series",
    0x00280004: "photometric",
}
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
    found: dict[int, str] = {}
    with path.open("rb") as handle, warnings.catch_warnings(action="ignore"):
        handle.seek(132)
        # cut short or damaged: what was read still tells
        with contextlib.suppress(struct.error, OSError, ValueError, LookupError, RecursionError):
            _read_elements(handle, 0x0002FFFF, found)  # explicit, little-endian
            _read_elements(handle, max(_WANTED), found)
    return DicomHead(**{name: found.get(tag, "") for tag, name in _WANTED.items()})


def _read_elements(handle: BinaryIO, last: int, found: dict[int, str]) -> None:
    """Put the texts of wanted elements up to the tag ``last`` into ``found``.

    dcmread would give nothing of a cut file, and parse the frames' positions before the pixels.
    """
    from pydicom.filereader import data_element_generator
    from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

    syntax = found.get(_SYNTAX)
    for element in data_element_generator(
        handle,
        is_implicit_VR=syntax == ImplicitVRLittleEndian,
        is_little_endian=syntax != ExplicitVRBigEndian,
        stop_when=lambda tag, kind, length: int(tag) > last,
        defer_size=_LONGEST_VALUE,
        specific_tags=[_SYNTAX, *_WANTED],
    ):
        if isinstance(element.value, bytes):
            found[int(element.tag)] = element.value.decode("ascii", "replace").strip("\0 ")
