"""Plain pictures through Pillow: one level, decoded once, no scale of their own."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from histoscope.core.contracts import Scalar
from histoscope.core.errors import UnreadableSource
from histoscope.domains.pathology.readers.base import Region, on_background, words_of
from histoscope.domains.pathology.readers.jpeg_damage import jpeg_damage
from histoscope.domains.pathology.tiling import Box

_BITS_PER_SAMPLE = 258  # TIFF 6.0, section 8


def open_picture(file: Path | BytesIO) -> Image.Image:
    """Open a picture, from disk or from memory, without decoding it.

    Raises:
        UnreadableSource: no picture that Pillow knows, or too large to be decoded in one piece.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        warnings.simplefilter("ignore", UserWarning)  # doubtful EXIF or TIFF tags
        try:
            return Image.open(file)
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as fault:
            raise UnreadableSource(
                f"too large to decode in one piece ({words_of(fault, file)}); "
                "convert it to a tiled pyramid"
            ) from None
        except UnidentifiedImageError:
            raise UnreadableSource("not a picture that can be read") from None
        except (OSError, ValueError, SyntaxError) as fault:
            raise UnreadableSource(f"does not open ({words_of(fault, file)})") from None


def rgb_of(
    picture: Image.Image, file: Path | BytesIO
) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
    """Decode to RGB on white, upright as the picture's EXIF says.

    Returns:
        uint8 (height, width, 3), and bool (height, width) where it was opaque, or None.

    Raises:
        UnreadableSource: damaged or cut, or of more than 8 bits, or of nobody knows how many.
    """
    if picture.mode.startswith(("I", "F")):
        raise UnreadableSource(
            f"pixels of more than 8 bits (mode {picture.mode}): not a RGB picture"
        )
    see_through = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
    try:
        upright = ImageOps.exif_transpose(picture)
        pixels = np.array(upright.convert("RGBA" if see_through else "RGB"))
        _check_bits(picture, file)
        _check_jpeg(picture, file)
    except (OSError, ValueError, SyntaxError) as fault:
        text = words_of(fault, file)
        cut = "the file ends early" if "truncated" in text else "damaged"
        raise UnreadableSource(f"{cut} ({text})") from None
    return on_background(pixels) if see_through else (pixels, None)


def _check_bits(picture: Image.Image, file: Path | BytesIO) -> None:
    """Refuse 16-bit samples that may be of fewer bits: the upper 8 of these would be nearly black.

    Raises:
        UnreadableSource: with the largest value.
    """
    tags = picture.tag_v2 if isinstance(picture, TiffImageFile) else {}
    if max(tags.get(_BITS_PER_SAMPLE, (8,))) <= 8:
        return
    if isinstance(file, BytesIO):
        file.seek(0)
    largest = int(tifffile.imread(file).max())
    if largest < 2**15:
        raise UnreadableSource(
            f"16-bit samples, the largest {largest}: how many bits mean something is not said; "
            "save it with 8"
        )


def _check_jpeg(picture: Image.Image, file: Path | BytesIO) -> None:
    """Refuse a JPEG that is damaged inside, which Pillow decodes as if it were not.

    Raises:
        UnreadableSource: with what libjpeg warns of.
    """
    if picture.format in ("JPEG", "MPO"):
        data = file.getvalue() if isinstance(file, BytesIO) else file.read_bytes()
        if said := jpeg_damage(data):
            raise UnreadableSource(f"damaged ({said})")


class FlatPyramid:
    """A JPEG, PNG, BMP or plain TIFF: decoded whole when opened.

    Its resolution tags are not believed: cameras and image programs write screen dpi there.

    Raises:
        UnreadableSource: see :func:`open_picture` and :func:`rgb_of`.
    """

    def __init__(self, path: Path) -> None:
        with open_picture(path) as picture:
            kind = picture.format or "unknown"
            self._pixels, self._seen = rgb_of(picture, path)
        height, width = self._pixels.shape[:2]
        self.levels: Sequence[tuple[int, int]] = [(width, height)]
        self.mpp: tuple[float, float] | None = None
        self.scale_fault = self.said = ""
        self.scanned = Box(0, 0, width, height)
        self.facts: Mapping[str, Scalar] = {
            "reader": "pillow",
            "vendor": kind.lower(),
            "objective_power": None,
        }

    def read(self, level: int, box: Box) -> Region:
        """See :class:`~.base.Pyramid`; nothing can fail here any more."""
        window = (slice(box.y, box.y + box.height), slice(box.x, box.x + box.width))
        seen = None if self._seen is None else self._seen[window]
        return Region(self._pixels[window], seen, box.x, box.y)

    def close(self) -> None:
        """Nothing is held open."""
