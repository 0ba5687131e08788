"""What decoders of JPEG keep to themselves: they fill what is damaged with grey, or with nonsense.

Pillow and imagecodecs go on where libjpeg warns; OpenSlide and :mod:`.jpeg_tiles` do not.
"""

from __future__ import annotations

import re

import simplejpeg  # type: ignore[import-untyped]

# of jerror.h of libjpeg: what its warnings of damaged data begin with. Others, as of the parameters
# of a scan, come with whole pictures of some cameras
_DAMAGED = ("Corrupt JPEG data", "Premature end")
_STRAY = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9")
_MOST_STRAY = 16  # bytes; cameras leave some behind a whole picture
_ASK = {"Gray": "GRAY", "YCbCr": "GRAY", "RGB": "GRAY", "CMYK": "CMYK", "YCCK": "CMYK"}
_START, _END = b"\xff\xd8", b"\xff\xd9"


def jpeg_damage(data: bytes, tables: bytes = b"") -> str:
    """What libjpeg warns of; empty where it warns of nothing, and where it cannot be asked.

    Args:
        data: one JPEG.
        tables: a JPEG without picture whose tables it needs, as TIFF keeps them.
    """
    whole = _START + tables[len(_START) : -len(_END)] + data[len(_START) :]
    try:
        colours = simplejpeg.decode_jpeg_header(whole)[2]
        simplejpeg.decode_jpeg(whole, _ASK[colours])
    except (ValueError, KeyError, MemoryError) as fault:
        words = " ".join(str(fault).split())
        stray = _STRAY.fullmatch(words)
        few = stray is not None and int(stray[1]) <= _MOST_STRAY
        return words if words.startswith(_DAMAGED) and not few else ""
    return ""
