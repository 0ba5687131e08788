"""The storyboard of an operation: a small still where each segment begins, as one picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from histoscope.core.contracts import CorruptSample
from histoscope.core.files import write_bytes
from histoscope.domains.surgery.operation_reader import OperationReader
from histoscope.domains.surgery.segments import Segment
from histoscope.domains.surgery.timeline import clock

MOST = 30  # stills; beyond, a page shows too little of each
COLUMNS, WIDTH_PX, GAP_PX = 5, 224, 12
LETTERS_PX, STRIP_PX, WORDS_PX = 16, 6, 50  # the strip has the colour of the class
TALLEST, FLATTEST = 1.25, 0.4  # of a still, height to width
GROUND, INK, MISSING = "#ffffff", "#15181c", "#d8dce1"
QUALITY = 88
Still = NDArray[np.uint8] | CorruptSample


def longest(segments: Sequence[Segment], most: int = MOST) -> list[Segment]:
    """The longest segments, in order of time; the earlier of two that last equally long."""
    chosen = sorted(segments, key=lambda one: (one.start_s - one.end_s, one.start_s))[:most]
    return sorted(chosen, key=lambda one: one.start_s)


def draw_storyboard(
    reader: OperationReader, frames: Sequence[int], segments: Sequence[Segment], path: Path
) -> int:
    """Draw the first frame of each segment with its time and class below, as JPEG.

    Stills are made small one after the other, so that one frame is held at full size.

    Args:
        reader: the open operation.
        frames: numbers of all sampled frames, by row.
        segments: one or more, in order of time; few.
        path: of the picture.

    Returns:
        How many stills could not be read; their places are grey.
    """
    numbers = [frames[one.row] for one in segments]
    stills = list(reader.stills(numbers, WIDTH_PX))
    shapes = [one.shape[:2] for one in stills if not isinstance(one, CorruptSample)]
    ratio = shapes[0][0] / shapes[0][1] if shapes else 0.6
    height = round(WIDTH_PX * min(TALLEST, max(FLATTEST, ratio)))
    step_x, step_y = WIDTH_PX + GAP_PX, height + STRIP_PX + WORDS_PX + GAP_PX
    rows, columns = -(-len(segments) // COLUMNS), min(COLUMNS, len(segments))
    size = columns * step_x + GAP_PX, rows * step_y + GAP_PX
    sheet = Image.new("RGB", size, GROUND)
    for number, (one, still) in enumerate(zip(segments, stills, strict=True)):
        left, top = (number % COLUMNS) * step_x + GAP_PX, (number // COLUMNS) * step_y + GAP_PX
        _draw_still(sheet, still, (left, top, left + WIDTH_PX, top + height))
        _draw_words(sheet, one, left, top + height)
    out = io.BytesIO()
    sheet.save(out, format="JPEG", quality=QUALITY)
    write_bytes(path, out.getbuffer())
    return len(stills) - len(shapes)


def _draw_still(sheet: Image.Image, still: Still, box: tuple[int, int, int, int]) -> None:
    """A still in the middle of its box, or why there is none."""
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=MISSING)
    if isinstance(still, CorruptSample):
        draw.text((box[0] + 8, box[1] + 8), "could not be read", INK, _font())
        return
    picture = Image.fromarray(still)
    picture.thumbnail((box[2] - box[0], box[3] - box[1]), Image.Resampling.BICUBIC)
    left = box[0] + (box[2] - box[0] - picture.width) // 2
    sheet.paste(picture, (left, box[1] + (box[3] - box[1] - picture.height) // 2))


def _draw_words(sheet: Image.Image, one: Segment, left: int, top: int) -> None:
    """A strip in the colour of the class, the time, and its name."""
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((left, top, left + WIDTH_PX - 1, top + STRIP_PX - 1), fill=one.colour)
    length_s = one.end_s - one.start_s
    lasts = f"{clock(one.start_s)}  for "
    lasts += clock(length_s) if length_s >= 60 else f"{length_s:.3g} s"
    for line, text in enumerate((lasts, " ".join(one.kind.split()))):
        place = left, top + STRIP_PX + 4 + line * (LETTERS_PX + 5)
        draw.text(place, shortened(text, WIDTH_PX), INK, _font())


def shortened(text: str, width_px: int) -> str:
    """The text, cut with an ellipsis where it is wider than a still."""
    font = _font()
    if font.getlength(text) <= width_px:
        return text
    while text and font.getlength(text + "\u2026") > width_px:
        text = text[:-1]
    return text + "\u2026"


def _font() -> ImageFont.FreeTypeFont:
    """DejaVu Sans as matplotlib ships it: the same letters on every machine."""
    face = Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return ImageFont.truetype(face, LETTERS_PX)
