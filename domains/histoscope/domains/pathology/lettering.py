"""Fonts for names in any script: the one that is always there, else one of this machine's."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import matplotlib as mpl
from PIL import ImageFont, features

_SECOND_CHOICE = ("bold", "italic", "oblique", "light", "black", "thin", "mono", "serif")
_SMALLEST_PX = 12
NO_FONT = "no font of this machine can show the name; one for its script can be installed"


def as_drawn(name: str) -> str:
    """The name with accents and letters in one piece, as fonts have them."""
    return unicodedata.normalize("NFC", name)


def can_be_drawn(name: str) -> bool:
    """Whether a picture can show the name: a font has its letters, and they can be laid out."""
    shaped = any(
        unicodedata.bidirectional(one) in ("R", "AL") or unicodedata.category(one) in ("Mn", "Mc")
        for one in as_drawn(name)
    )
    return not (shaped and not features.check("raqm")) and _face_for(_letters(name)) is not None


def font_for(name: str, size_px: int) -> ImageFont.FreeTypeFont:
    """A font that has the letters of the name; DejaVu Sans where none has."""
    return _font(_face_for(_letters(name)) or _usual(), size_px)


def _letters(name: str) -> frozenset[str]:
    shortened = as_drawn(name) + "…"
    return frozenset(one for one in shortened if not one.isspace())


def _usual() -> Path:
    """DejaVu Sans as matplotlib ships it: the same letters on every machine."""
    return Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")


@cache
def _font(face: Path, size_px: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(face, size_px)


@cache
def _face_for(letters: frozenset[str]) -> Path | None:
    """The first font that has all letters, None where there is none."""
    return next((face for face in _faces() if _has(face, letters)), None)


def _faces() -> Iterator[Path]:
    """The usual font; then those of the machine, plain ones first."""
    yield _usual()
    yield from sorted(
        installed_fonts(),
        key=lambda face: (any(word in face.name.lower() for word in _SECOND_CHOICE), face),
    )


def installed_fonts() -> list[Path]:
    """Font files that matplotlib finds on this machine, but for those that draw only boxes."""
    from matplotlib.font_manager import findSystemFonts

    found = map(Path, findSystemFonts())
    return [face for face in found if "lastresort" not in face.name.lower()]


def _has(face: Path, letters: frozenset[str]) -> bool:
    """Whether a font can be used and has all letters."""
    known = _known(face)
    return all(ord(letter) in known for letter in letters)


@cache
def _known(face: Path) -> frozenset[int]:
    """Code points of a font, none where it does not open or has pictures in place of outlines."""
    from matplotlib.ft2font import FT2Font

    try:
        ImageFont.truetype(face, _SMALLEST_PX)
        return frozenset(FT2Font(str(face)).get_charmap())
    except (OSError, RuntimeError, ValueError):
        return frozenset()
