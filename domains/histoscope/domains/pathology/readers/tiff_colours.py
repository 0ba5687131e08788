"""How the samples of a TIFF become RGB: one table for tiles and strips, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histoscope.core.errors import UnreadableSource
from histoscope.domains.pathology.readers.tiff_images import TiffImage, children

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
_OTHERS = {4: "a mask", 8: "CIELab", 9: "ICCLab", 10: "ITULab", 32803: "a colour filter array"}
JPEG, _JPEG_2000 = frozenset({6, 7, 33007}), frozenset({33004, 33005, 34712})
_DECODED_TO_RGB = JPEG | {50001, 50002}  # WebP, JPEG XL: no YCbCr is left of them
IS_ALPHA = (1, 2)
_LUMA = (0.299, 0.587, 0.114)
_FULL_RANGE = (0.0, 255.0, 128.0, 255.0, 128.0, 255.0)
_COLOUR_NAMES = {"r": 0, "red": 0, "g": 1, "green": 1, "b": 2, "blue": 2}
_NO_NAME = re.compile(r"(channel|image|ch|c)?[ :_#-]*\d*([:.]\d+)*", re.IGNORECASE)
_LONGEST_NAMES = 60
WRITE_RGB = "write it as 8-bit RGB"


@dataclass(frozen=True)
class Colours:
    """From decoded samples to RGBA.

    Attributes:
        to_rgb: uint8 (height, width, samples) to uint8 RGB; samples as the file has them where
            a palette wants them.
        bits: of a sample; 8 are taken as they are.
        order: which samples are the colours.
        alpha: which sample is the alpha, None where there is none.
        doubtful: whether only the picture tells that it is bright-field.
    """

    to_rgb: Callable[[NDArray[Any]], NDArray[np.uint8]]
    bits: int
    order: Sequence[int]
    alpha: int | None
    doubtful: bool

    def __call__(self, samples: NDArray[Any]) -> NDArray[np.uint8]:
        """RGBA, uint8, (height, width, 4), of (height, width, samples)."""
        rgba = np.empty((*samples.shape[:2], 4), np.uint8)
        rgba[:, :, :3] = self.to_rgb(samples[:, :, list(self.order)])
        rgba[:, :, 3] = (
            255 if self.alpha is None else eight_bits(samples[:, :, self.alpha], self.bits)
        )
        return rgba


def eight_bits(samples: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Samples of 1 to 16 bits, rounded to 8; what is above the largest value is the largest."""
    if bits == 8:
        return np.asarray(samples, np.uint8)
    largest = 2**bits - 1
    scaled = np.rint(samples.clip(0, largest) * (255.0 / largest))
    return np.asarray(scaled, np.uint8)


def colours_of(image: TiffImage, largest: Callable[[], int]) -> Colours:
    """How an image's samples are read.

    Args:
        image: of any kind.
        largest: looks for the largest sample in parts of it.

    Raises:
        UnreadableSource: by name, what is no RGB and cannot be made RGB with certainty.
    """
    page = image.keyframes[0]
    _check_storage(image)
    kind, samples = int(page.photometric), int(page.samplesperpixel)
    if image.levels[0].shape[1] > 1 or (kind == BLACK_IS_ZERO and samples == 3):
        order, bits = _channel_order(image), _bits(image, largest)
        return Colours(lambda pixels: eight_bits(pixels, bits), bits, order, None, doubtful=True)
    extra = [int(one) for one in page.extrasamples]
    base = {RGB: 3, YCBCR: 3, CMYK: 4}.get(kind, 1)
    if kind in _OTHERS or kind not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR):
        name = _OTHERS.get(kind, f"photometric {kind}")
        raise UnreadableSource(f"its colours are {name}; {WRITE_RGB}")
    if image.stack in ({"I": 3}, {"Q": 3}) and base == samples == 1 and kind != PALETTE:
        raise UnreadableSource(
            f"3 grey pages of one size: colours or a stack, which is not said; {WRITE_RGB}"
        )
    if samples < base or samples > base + 1 or (base == 1 and extra and extra[0] not in IS_ALPHA):
        raise UnreadableSource(f"{samples} samples a pixel: not RGB; {WRITE_RGB}")
    alpha = base if samples > base and extra and extra[0] in IS_ALPHA else None
    channel = base == 1 and kind != PALETTE and image.pixels is not None  # of a microscope
    if channel and _fluorescent(image):
        raise UnreadableSource(f"1 channel of fluorescence: not RGB; {WRITE_RGB}")
    bits = _bits(image, largest)
    return Colours(_converter(page, kind, bits), bits, range(base), alpha, doubtful=channel)


def _check_storage(image: TiffImage) -> None:
    page = image.keyframes[0]
    turned = int(page.tags.valueof("Orientation", 1) or 1)
    if turned != 1:
        raise UnreadableSource(turned_words(turned))
    if page.dtype is None or page.dtype.kind not in "ub" or page.dtype.itemsize > 2:
        raise UnreadableSource(f"pixels of type {page.dtype}: not RGB; {WRITE_RGB}")
    if page.imagedepth > 1:
        raise UnreadableSource("a volume of voxels in one page; convert it to OME-TIFF")
    if len({_form(level) for level in image.keyframes}) > 1:
        raise UnreadableSource(f"its levels are stored in different ways; {WRITE_RGB}")


def _form(page: Any) -> tuple[Any, ...]:
    """What must be the same at all levels for one table to read them."""
    kind = int(page.photometric)
    decoded = kind == YCBCR and int(page.compression) in _DECODED_TO_RGB
    return page.dtype, page.samplesperpixel, page.planarconfig, RGB if decoded else kind


def turned_words(orientation: int) -> str:
    """Why a picture that is stored turned is refused, and what to do."""
    return (
        f"its tag Orientation is {orientation} (stored turned or mirrored), which viewers obey or "
        "not; write it upright, or set the tag to 1 where its pixels are upright as stored "
        "(tiffset -s 274 1)"
    )


def _bits(image: TiffImage, largest: Callable[[], int]) -> int:
    """Bits of a sample that mean something; 12 in 16 are not told from 16 by guessing."""
    page = image.keyframes[0]
    bits = page.bitspersample
    if not isinstance(bits, int):
        raise UnreadableSource(f"samples of {bits} bits; {WRITE_RGB}")
    if bits == 1 and int(page.photometric) != PALETTE:
        raise UnreadableSource(f"1 bit a pixel: a mask; {WRITE_RGB}")
    if bits < 16 or int(page.photometric) == PALETTE:
        return bits
    said = _said_bits(image)
    found = largest()
    if said < 16 and found < 2**said:
        return said
    if found >= 2**15:
        return 16
    raise UnreadableSource(
        f"16-bit samples, the largest that was looked at {found}: fluorescence, or how many bits "
        f"are meant is not said; {WRITE_RGB}"
    )


def _said_bits(image: TiffImage) -> int:
    """Significant bits that OME-XML or the tag MaxSampleValue state; 16 where neither does."""
    text = "" if image.pixels is None else image.pixels.get("SignificantBits", "")
    if text.isdecimal() and 8 <= int(text) < 16:
        return int(text)
    value = image.keyframes[0].tags.valueof("MaxSampleValue", 0) or 0
    top = int(np.max(value))
    return top.bit_length() if 255 <= top < 2**15 and top & (top + 1) == 0 else 16


def _channel_order(image: TiffImage) -> Sequence[int]:
    """Which of several channels of one sample are red, green and blue."""
    page = image.keyframes[0]
    count = image.levels[0].shape[1] * int(page.samplesperpixel)
    names = _channel_names(image, count)
    shown = f" ({', '.join(names)})"[:_LONGEST_NAMES] if any(names) else ""
    named = [_COLOUR_NAMES.get(name.lower()) for name in names]
    if count != 3 or int(page.photometric) != BLACK_IS_ZERO or _fluorescent(image):
        raise UnreadableSource(f"{count} channels{shown}: fluorescence or several markers, not RGB")
    if sorted(one for one in named if one is not None) == [0, 1, 2]:
        return [named.index(colour) for colour in range(3)]
    if any(not _NO_NAME.fullmatch(name) for name in names):
        raise UnreadableSource(f"3 channels{shown}: fluorescence or several markers, not RGB")
    return (0, 1, 2)


def _channel_names(image: TiffImage, count: int) -> list[str]:
    """Names of the channels, empty where they have none; none where one stands for several."""
    channels = [] if image.pixels is None else list(children(image.pixels, "Channel"))
    names = [" ".join((one.get("Name") or "").split()) for one in channels]
    return names if len(names) == count else []


def _fluorescent(image: TiffImage) -> bool:
    """Whether the OME-XML calls a channel one of fluorescence."""
    channels = [] if image.pixels is None else list(children(image.pixels, "Channel"))
    return any(
        one.get("ContrastMethod") == "Fluorescence"
        or one.get("Fluor")
        or one.get("EmissionWavelength")
        for one in channels
    )


def _converter(page: Any, kind: int, bits: int) -> Callable[[NDArray[Any]], NDArray[np.uint8]]:
    """From the samples that hold colour to RGB."""
    if kind == PALETTE:
        return _palette(page)
    if kind == CMYK:
        if int(page.tags.valueof("InkSet", 1) or 1) != 1 or page.compression in JPEG:
            raise UnreadableSource(f"its inks are not plain CMYK; {WRITE_RGB}")
        return lambda samples: _from_cmyk(eight_bits(samples, bits))
    if kind == WHITE_IS_ZERO:
        return lambda samples: np.asarray(255 - eight_bits(samples, bits), np.uint8)
    if kind == YCBCR and int(page.compression) not in _DECODED_TO_RGB:
        return _from_ycbcr(page, bits)
    return lambda samples: eight_bits(samples, bits)


def _palette(page: Any) -> Callable[[NDArray[Any]], NDArray[np.uint8]]:
    if page.colormap is None:
        raise UnreadableSource(f"palette colours without their palette; {WRITE_RGB}")
    table = np.asarray(page.colormap, np.uint16).T
    table = table if table.max(initial=0) < 256 else np.rint(table / 257)  # old writers: 8 bits
    colours = table.astype(np.uint8)
    return lambda samples: np.asarray(colours[samples[:, :, 0]])


def _from_cmyk(samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
    light = 255.0 - samples
    return np.rint(light[:, :, :3] * light[:, :, 3:] / 255).astype(np.uint8)


def _from_ycbcr(page: Any, bits: int) -> Callable[[NDArray[Any]], NDArray[np.uint8]]:
    """TIFF 6.0, section 21: luma coefficients and reference levels as the file states them."""
    if bits != 8 or int(page.compression) in _JPEG_2000 or page.subsampling not in (None, (1, 1)):
        raise UnreadableSource(f"YCbCr with fewer colours than pixels; {WRITE_RGB}")
    red, green, blue = _fractions(page, "YCbCrCoefficients", _LUMA)
    levels = _fractions(page, "ReferenceBlackWhite", _FULL_RANGE)
    black, white = np.array(levels[::2], np.float32), np.array(levels[1::2], np.float32)
    scale = np.array([255, 127, 127], np.float32) / (white - black)

    def convert(samples: NDArray[Any]) -> NDArray[np.uint8]:
        full = (samples.astype(np.float32) - black) * scale
        luma, to_blue, to_red = full[:, :, 0], full[:, :, 1], full[:, :, 2]
        r = to_red * (2 - 2 * red) + luma
        b = to_blue * (2 - 2 * blue) + luma
        g = (luma - blue * b - red * r) / green
        colours = np.rint(np.stack([r, g, b], axis=2)).clip(0, 255)
        return np.asarray(colours, np.uint8)

    return convert


def _fractions(page: Any, tag: str, default: Sequence[float]) -> Sequence[float]:
    """A tag of fractions, which tifffile gives as numerators and denominators in turn."""
    value = page.tags.valueof(tag)
    if value is None or len(value) not in (len(default), 2 * len(default)):
        return default
    if len(value) == len(default):
        return tuple(map(float, value))
    return tuple(
        above / below if below else 0.0
        for above, below in zip(value[::2], value[1::2], strict=True)
    )
