"""Instruments against tissue: grey where tissue is red, with a border where that changes at once.

How red a pixel is (CIE a*, a little of b*, after the camera's black level) is divided by how red
the tissue of this source and frame is. Parts that stay below one of several limits are candidates;
the best of those that lie in each other is taken: grey inside, red around, not burnt out as gauze
and glare are, not a sliver along the edge of the field.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from histoscope.core.contracts.masks import Subjects
from histoscope.domains.saliency.field import View, find_view
from histoscope.domains.saliency.settings import InstrumentsSpec
from histoscope.domains.saliency.shapes import (
    Plane,
    blur,
    brightest,
    closed,
    enlarged,
    grown,
    large_parts,
    opened,
)
from histoscope.domains.saliency.stream import Each, measured

if TYPE_CHECKING:
    from histoscope.core.contracts.masks import Image, Mask

PIXELS = 4096  # of a frame that say how red it is
WORK_PX = 160  # frames with a longer shorter side are looked at in this size
# All lengths below are shares of the shorter side. The limits and the weights of a candidate's
# faults were chosen on the train operations of Endoscapes2023, see docs/masks.md.
SMOOTHING, THINNEST, RING, SLIVER = 0.01, 0.008, 0.03, 0.05
YELLOW = 0.2  # part of |b*| beside a*: fat is less red than other tissue, but yellow
LIMITS = (0.3, 0.4, 0.5, 0.6)  # of the tissue's redness
DARK_L, WHITE_L = 5.0, 88.0  # CIE L*, 0 to 100: below there is no colour, above it is burnt out
WHITE_COSTS, LEAST_SCORE, LEAST_DEEP = 1.5, -0.17, 0.35
NO_TISSUE = 4.0  # CIE a*; a frame that is less red shows no tissue to tell anything from
LIKE_SURROUND = 8.0  # grey levels; the field of one frame may lie a little beside the source's


@dataclass(frozen=True)
class Look:
    """What instruments differ from in a source: its field of view and how red its tissue is."""

    view: View
    redness: float


@dataclass(frozen=True)
class InstrumentsMaker:
    """Makes masks of instruments; ``maps`` is not needed."""

    settings: InstrumentsSpec
    maps: Any = None

    def of_source(self, images: Sequence[Image]) -> Subjects:
        """Masks of an operation's frames; fill is the dark around the field of view."""
        view = find_view(images)
        found = [one for one in measured(images, partial(_redness, view=view)) if one is not None]
        look = Look(view, float(np.median(found)) if found else 0.0)
        mask = partial(instruments_mask, look=look, settings=self.settings)
        return Subjects(Each(images, mask), view.fill)


def instruments_mask(image: Image, look: Look, settings: InstrumentsSpec) -> Mask:
    """Instruments of one frame, bool, (height, width)."""
    frame = Frame(image, look.view)
    own = frame.redness()
    reference = 0.0 if own is None else (own + look.redness) / 2
    if reference < NO_TISSUE:
        return np.zeros(image.shape[:2], np.bool_)
    found = _best(frame, frame.red / reference, settings.smallest)
    found = closed(found, 2 * THINNEST * frame.side_px)
    if round(settings.margin * frame.side_px):
        found = grown(found, settings.margin * frame.side_px) & frame.field
    return enlarged(found, image.shape[:2])


class Frame:
    """A frame at the size it is looked at.

    Attributes:
        side_px: its shorter side.
        field: the field of view in this frame.
        light, red: CIE L*, and a* with a part of b*; (height, width).
    """

    def __init__(self, image: Image, view: View) -> None:
        small = _reduced(image)
        self.side_px = min(small.shape[:2])
        smooth = blur(small, SMOOTHING * self.side_px)
        self.field = view.mask(small)
        if not self.field.all():
            fill = np.array(view.fill, np.float32)
            self.field = _own_field(self.field, brightest(smooth), fill.max(), self.side_px)
            smooth = (smooth - fill).clip(0).astype(np.float32)
        lab = np.asarray(cv2.cvtColor(smooth / 255, cv2.COLOR_RGB2LAB))
        self.light, self._a = lab[:, :, 0], lab[:, :, 1]
        self.red: Plane = (self._a + YELLOW * np.abs(lab[:, :, 2])).astype(np.float32)

    def redness(self) -> float | None:
        """Median a* of what is lit; None where next to nothing is."""
        lit = self.field & (self.light > DARK_L)
        if lit.mean() <= 0.01:
            return None
        values = self._a[lit]
        return float(np.median(values[:: max(1, len(values) // PIXELS)]))


def _redness(image: Image, view: View) -> float | None:
    return Frame(image, view).redness()


def _reduced(image: Image) -> Image:
    height, width = image.shape[:2]
    ratio = WORK_PX / min(height, width)
    if ratio >= 1:
        return image
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _own_field(field: Mask, light: Plane, level: float, side_px: int) -> Mask:
    """The field less what is as dark as the surround and lies along its edge."""
    dark = ~field | (light < level + LIKE_SURROUND)
    around = np.pad(dark, 1, constant_values=True).astype(np.uint8)
    _, names = cv2.connectedComponents(around, connectivity=4)
    outside = (names == names[0, 0])[1:-1, 1:-1]
    own = field & ~(outside & ~grown(field, -1.2 * SLIVER * side_px))
    return large_parts(opened(own, SLIVER / 2 * side_px), 0.05 * field.size)


@dataclass(frozen=True)
class _Candidate:
    """A connected part: the box that holds it and its surroundings, and its pixels in there."""

    score: float
    box: tuple[slice, slice]
    part: Mask


def _best(frame: Frame, relative: Plane, smallest: float) -> Mask:
    """The candidates with the highest scores that do not meet."""
    found = np.zeros(relative.shape, np.bool_)
    lit = frame.field & (frame.light > DARK_L)
    inner = grown(frame.field, -SLIVER * frame.side_px)
    candidates = [
        one
        for limit in LIMITS
        for one in _parts(frame, relative, lit & (relative < limit), inner, smallest)
        if one.score >= LEAST_SCORE
    ]
    for one in sorted(candidates, key=lambda one: -one.score):
        if not (found[one.box] & one.part).any():
            found[one.box] |= one.part
    return found


def _parts(
    frame: Frame, relative: Plane, below: Mask, inner: Mask, smallest: float
) -> Iterator[_Candidate]:
    thin = opened(below, THINNEST * frame.side_px).astype(np.uint8)
    count, names, facts, _ = cv2.connectedComponentsWithStats(thin, connectivity=4)
    reach = int((RING + THINNEST) * frame.side_px) + 1
    for name in range(1, count):
        left, top, width, height, area = (int(fact) for fact in facts[name])
        if area < smallest * below.size:
            continue
        rows = slice(max(0, top - reach), top + height + reach)
        box = (rows, slice(max(0, left - reach), left + width + reach))
        part = ~large_parts(names[box] != name, 0.01 * below.size)
        beside = grown(part, RING * frame.side_px) & ~grown(part, THINNEST * frame.side_px)
        beside &= frame.field[box]
        if beside.any() and (part & inner[box]).sum() >= LEAST_DEEP * part.sum():
            inside = float(relative[box][part].mean())
            white = float((frame.light[box][part] > WHITE_L).mean())
            contrast = float(relative[box][beside].mean()) - inside
            yield _Candidate(contrast - inside - WHITE_COSTS * white, box, part)
