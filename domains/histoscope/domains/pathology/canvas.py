"""Colours over a picture of a slide, and the strip below it: scale bar and legend."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from histoscope.core.files import write_bytes
from histoscope.domains.pathology.class_map import NOTHING
from histoscope.domains.pathology.lettering import as_drawn, font_for

ALPHA = 0.45
BORDER_ALPHA = 0.9
HATCH_PX = 8  # of the picture, from line to line
LINE, GROUND = (55, 55, 55), (225, 225, 225)
INK = (20, 20, 20)
NARROWEST_PX = 640  # a strip narrower than this cannot hold a legend
LETTERS = 40  # the strip's text is this small a part of the picture's longest side
BAR_PART = 0.25  # the scale bar takes at most this part of the picture's width
PNG = {"format": "png", "compress_level": 1}  # 0.2 s a slide, not 0.5; a tenth larger


@dataclass(frozen=True)
class Entry:
    """One line of the legend: ``colour`` None is the hatching."""

    name: str
    colour: tuple[int, int, int] | None


def rgb(colour: str) -> tuple[int, int, int]:
    """``#rrggbb`` as numbers."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


def paint(
    image: NDArray[np.uint8],
    classes: NDArray[np.int16],
    colours: Sequence[str],
    part: float = ALPHA,
) -> NDArray[np.uint8]:
    """Lay class colours over a picture; what is unreadable is hatched.

    Args:
        image: (height, width, 3).
        classes: class id of each pixel, (height, width); ``len(colours)`` is unreadable.
        colours: ``#rrggbb`` by class.
        part: of the colour in what is seen, inside the borders.
    """
    table = np.array([*map(rgb, colours), GROUND, (0, 0, 0)], np.float32)  # the last: NOTHING
    alpha = np.where(_borders(classes), BORDER_ALPHA, part).astype(np.float32)
    unreadable = classes == len(colours)
    alpha[unreadable] = 1
    alpha[classes == NOTHING] = 0
    colour = table[classes]
    row, column = np.nonzero(unreadable)
    dark = (row + column) % HATCH_PX < HATCH_PX // 4
    colour[row[dark], column[dark]] = LINE
    mixed = image + (colour - image) * alpha[:, :, None]
    return np.rint(mixed).astype(np.uint8)


def _borders(classes: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Pixels whose right or lower neighbour is of another class, from both sides."""
    edge = np.zeros(classes.shape, np.bool_)
    across, down = classes[:, 1:] != classes[:, :-1], classes[1:] != classes[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return edge


def nice_length(longest: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is no longer than ``longest``."""
    power = 10.0 ** math.floor(math.log10(longest))
    return max(step * power for step in (1, 2, 5) if step * power <= longest * (1 + 1e-9))


def length_name(length_um: float) -> str:
    """``200 µm``, ``2 mm``."""
    return f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} µm"


def with_strip(image: NDArray[np.uint8], um_per_px: float, legend: Sequence[Entry]) -> Image.Image:
    """Put the picture above a white strip with a scale bar and the legend.

    Args:
        image: (height, width, 3).
        um_per_px: along x.
        legend: may be empty.
    """
    height, width = image.shape[:2]
    unit = max(12, max(image.shape[:2]) // LETTERS)
    font = font_for("", unit)
    across = max(width, NARROWEST_PX)
    length_um = nice_length(width * BAR_PART * um_per_px)
    length_px, said = length_um / um_per_px, length_name(length_um)
    start = round(2.5 * unit + length_px + font.getlength(said) + 1.5 * unit)
    places = _lay_out(start, legend, unit, across)
    lines = places[-1][2] + 1 if places else 1
    canvas = Image.new("RGB", (across, height + round((lines * 1.6 + 0.8) * unit)), "white")
    canvas.paste(Image.fromarray(image), (0, 0))
    draw = ImageDraw.Draw(canvas)
    left, middle, right = unit, height + unit + unit // 4, unit + round(length_px)
    _draw_bar(draw, left, right, middle, unit)
    draw.text((right + unit // 2, middle), said, INK, font, anchor="lm")
    for entry, (name, x, line) in zip(legend, places, strict=True):
        top = height + round((0.8 + 1.6 * line) * unit)
        _draw_swatch(draw, entry, x, top, unit)
        corner = (x + round(1.4 * unit), top + unit // 2)
        draw.text(corner, name, INK, font_for(entry.name, unit), anchor="lm")
    return canvas


def write_picture(path: Path, picture: Image.Image, **how: Any) -> None:
    """Write a picture; on a full disk Pillow's own encoders may leave a file's end away unsaid."""
    data = io.BytesIO()
    picture.save(data, **how)
    write_bytes(path, data.getbuffer())


def _lay_out(
    start: int, legend: Sequence[Entry], unit: int, across: int
) -> list[tuple[str, int, int]]:
    """Name as it fits, left edge and line of each entry."""
    places = list[tuple[str, int, int]]()
    x, line = start, 0
    for entry in legend:
        font = font_for(entry.name, unit)
        name = _shortened(as_drawn(entry.name), font, across - 4 * unit)
        need = round(font.getlength(name) + 3 * unit)
        if x + need > across and x > unit:
            x, line = unit, line + 1
        places.append((name, x, line))
        x += need
    return places


def _shortened(name: str, font: ImageFont.FreeTypeFont, room: float) -> str:
    if font.getlength(name) <= room:
        return name
    while name and font.getlength(name + "…") > room:
        name = name[:-1]
    return name + "…"


def _draw_bar(draw: ImageDraw.ImageDraw, left: int, right: int, middle: int, unit: int) -> None:
    thick = max(2, unit // 8)
    draw.rectangle((left, middle - thick // 2, right, middle + thick // 2), INK)
    for end in (left, right):
        draw.rectangle((end, middle - unit // 3, end + thick // 2, middle + unit // 3), INK)


def _draw_swatch(draw: ImageDraw.ImageDraw, entry: Entry, x: int, y: int, unit: int) -> None:
    draw.rectangle((x, y, x + unit, y + unit), entry.colour or GROUND, LINE)
    if entry.colour is None:
        for shift in range(0, unit + 1, max(3, unit // 4)):
            draw.line((x, y + shift, x + shift, y), LINE)
            draw.line((x + shift, y + unit, x + unit, y + shift), LINE)
