"""A tile among its surroundings, pixel by pixel as it was scanned."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pyarrow as pa

from histoscope.core.contracts import CloseUp, CorruptSample, Reader
from histoscope.domains.pathology.tiling import Box, has_places, places_of

if TYPE_CHECKING:
    from histoscope.domains.pathology.slide_reader import SlideReader

SIDES = 3.0  # of a tile that are shown
LEAST_PX, MOST_PX = 512, 1024  # of level 0 that are shown, where the tile leaves the choice
LONGEST_PX = 2048  # of the picture; of larger tiles it is made smaller


def close_up(reader: Reader, rows: pa.Table, place: int) -> CloseUp | CorruptSample:
    """A tile in the middle of what surrounds it on the slide, as far as the slide reaches.

    Of a labelled set, where the surroundings are unknown, the tile alone.
    """
    if not has_places(rows):
        return _alone(reader, rows, place)
    x, y, width, height = (float(one[place]) for one in places_of(rows))
    size = reader.facts["width_level0_px"], reader.facts["height_level0_px"]
    left, across = _around(x, width, int(cast(int, size[0])))
    top, down = _around(y, height, int(cast(int, size[1])))
    shrunk = min(1.0, LONGEST_PX / max(across, down))
    size_px = (max(1, round(across * shrunk)), max(1, round(down * shrunk)))
    image = cast("SlideReader", reader).window(Box(left, top, across, down), size_px)
    if isinstance(image, CorruptSample):
        return image
    box = (x - left) * shrunk, (y - top) * shrunk, width * shrunk, height * shrunk
    span = f"{width:.5g}" if round(width) == round(height) else f"{width:.5g} x {height:.5g}"
    where = f"x {x:.0f}, y {y:.0f}, {span} px of the full resolution"
    return CloseUp(image, box, where, (x, y, width, height))


def _around(start: float, length: float, end: int) -> tuple[int, int]:
    """Where what is shown begins along one axis, and how long it is."""
    wanted = max(1.25 * length, min(MOST_PX, max(LEAST_PX, SIDES * length)))
    first = max(0, int(start + length / 2 - wanted / 2))
    return first, max(1, min(end, int(start + length / 2 + wanted / 2)) - first)


def _alone(reader: Reader, rows: pa.Table, place: int) -> CloseUp | CorruptSample:
    (sample,) = reader.read(rows.slice(place, 1))
    if isinstance(sample, CorruptSample):
        return sample
    member, item = (rows.column(name)[place].as_py() for name in ("member", "item"))
    height, width = sample.image.shape[:2]
    return CloseUp(sample.image, (0, 0, width, height), member or f"item {item}")
