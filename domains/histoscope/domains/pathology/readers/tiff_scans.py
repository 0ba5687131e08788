"""What is asked of a TIFF before it is opened to read: who reads it rightly, how many scans."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openslide
import tifffile

from histoscope.core.errors import UnreadableSource
from histoscope.domains.pathology.readers.tiff_colours import (
    BLACK_IS_ZERO,
    IS_ALPHA,
    JPEG,
    RGB,
    WHITE_IS_ZERO,
    YCBCR,
)
from histoscope.domains.pathology.readers.tiff_images import DAMAGED, TiffImage, images_of, scans_of


def scans_in(path: Path) -> tuple[Sequence[int], str]:
    """Numbers of the images of a TIFF file that are scans, and what of it is not read.

    Returns:
        No number where the file is one source: no TIFF, of one image, one that OpenSlide puts
        together by its vendor's rules, or one that does not open, which reading it will say.
    """
    try:
        if openslide.OpenSlide.detect_format(str(path)) not in (None, "generic-tiff"):
            return (), ""
        with tifffile.TiffFile(path) as tiff:
            if not tiff.is_ome and len(tiff.pages) < 2:
                return (), ""
            scans = scans_of(images_of(tiff))
    except (UnreadableSource, openslide.OpenSlideError, *DAMAGED):
        return (), ""
    numbers = [one.number for one in scans.images]
    return (numbers if len(numbers) > 1 else ()), scans.left


def reads_as_it_is(path: Path) -> bool:
    """Whether OpenSlide reads a TIFF of no vendor rightly; also where it cannot be known."""
    try:
        with tifffile.TiffFile(path) as tiff:
            if tiff.is_ome or tiff.is_imagej:
                return False  # OpenSlide sees neither their levels nor their scale
            first = scans_of(images_of(tiff)).images[0]
            return first.keyframes[0].index == 0 and _is_usual(first)
    except (UnreadableSource, *DAMAGED):
        return True  # whoever reads it says why


def _is_usual(image: TiffImage) -> bool:
    """Upright interleaved 8-bit RGB or grey, one plane, and an alpha only where it is one."""
    page = image.keyframes[0]
    extra = [int(one) for one in page.extrasamples]
    if image.levels[0].size > 1 or page.dtype != np.uint8 or page.bitspersample != 8:
        return False
    if int(page.tags.valueof("Orientation", 1) or 1) != 1 or page.planarconfig != 1:
        return False
    kind, samples = int(page.photometric), int(page.samplesperpixel)
    if kind == RGB:
        return samples == 3 or (samples == 4 and extra[:1] in ([one] for one in IS_ALPHA))
    if kind == YCBCR:
        return int(page.compression) in JPEG and samples == 3
    return kind in (WHITE_IS_ZERO, BLACK_IS_ZERO) and samples == 1
