"""Pictures inside the page: small enough that a report of many sources still opens."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

LONGEST_PX, SHORTEST_PX = 1200, 240  # of the longer side
QUALITY = 82
PIXELS_PER_BYTE = 12  # a picture that holds less detail than this has no use for more pixels
CLOSER = 0.97  # of the side at which the picture should just fit


@dataclass(frozen=True)
class Embedded:
    """A picture as ``data:`` URI with its size in pixels."""

    uri: str
    width: int
    height: int


def embed(path: Path, most_bytes: int) -> Embedded | None:
    """Shrink a picture until its JPEG takes at most ``most_bytes``; None if it is unreadable."""
    try:
        with Image.open(path) as opened:
            opened.draft("RGB", (LONGEST_PX, LONGEST_PX))  # JPEG: decode no more than is used
            picture = opened.convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        return None
    useful = max(SHORTEST_PX, int(math.sqrt(most_bytes * PIXELS_PER_BYTE)))
    side = min(LONGEST_PX, max(picture.size), useful)
    while True:
        small = _shrunk(picture, side)
        data = _jpeg(small)
        if len(data) <= most_bytes or side <= SHORTEST_PX:
            break
        side = max(SHORTEST_PX, int(side * CLOSER * math.sqrt(most_bytes / len(data))))
    return _embedded(data, "image/jpeg", small)


def embed_whole(path: Path) -> Embedded | None:
    """A drawing of lines and letters as it is (PNG); None if it is absent or unreadable."""
    try:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            picture.load()
            return _embedded(data, "image/png", picture)
    except (OSError, UnidentifiedImageError):
        return None


def _shrunk(picture: Image.Image, side: int) -> Image.Image:
    if max(picture.size) <= side:
        return picture
    small = picture.copy()
    small.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return small


def _jpeg(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, format="JPEG", quality=QUALITY)
    return out.getvalue()


def _embedded(data: bytes, kind: str, picture: Image.Image) -> Embedded:
    return Embedded(f"data:{kind};base64,{base64.b64encode(data).decode()}", *picture.size)
