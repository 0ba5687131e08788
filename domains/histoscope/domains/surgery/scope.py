"""The bright circle that many laparoscopes show: found in a few frames, kept alone, or cut into."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from histoscope.core.randomness import generator
from histoscope.domains.surgery.options import Crop
from histoscope.domains.surgery.picture import SURROUND_LEVEL, Field, Picture, find_field

NOT_FOUND = "whole pictures are kept, as no"
CORNER = 24  # a corner's patch is this part of the shorter side
DIMMEST = 6  # grey levels that a field is at least brighter than its surround
EDGE = 0.15  # of the way from surround to field, where the field ends; scopes are dim at the rim
BORDER_PX = 2  # so near to the border of what is bright is no rim
TRIES = 300  # circles through three points of the rim
NEAR, NEAR_PX = 0.006, 1.5  # of the radius, or px: how far a point of the rim may be off
AGREED = 0.6  # of the points that must lie on the circle
TURNS, SEEN_TURNS = 36, 10  # tens of degrees of the rim, and how many must be seen
RADII = (0.12, 0.75)  # of the picture's diagonal
WIDER = (
    1.0,
    16 / 9,
    4 / 3,
)  # how much too narrow a picture is: as recorded, or squeezed to a square

Round = tuple[float, float, float]  # x, y, radius


@dataclass(frozen=True)
class Circle:
    """Where a scope shows something, px of the picture; the corner of the first pixel is (0, 0).

    Attributes:
        x, y: of its centre.
        across, down: its radii; the same, but where pictures were squeezed to squares before.
    """

    x: float
    y: float
    across: float
    down: float

    def inside(self, height: int, width: int) -> NDArray[np.bool_]:
        """Which pixels' middles lie in it, (height, width)."""
        down, across = np.ogrid[:height, :width]
        x, y = (across + 0.5 - self.x) / self.across, (down + 0.5 - self.y) / self.down
        return np.asarray(x**2 + y**2 <= 1)

    def box(self, height: int, width: int) -> Field:
        """The smallest box around what of it a picture of this size shows."""
        return Field(
            max(0, math.floor(self.x - self.across)),
            max(0, math.floor(self.y - self.down)),
            min(width, math.ceil(self.x + self.across)),
            min(height, math.ceil(self.y + self.down)),
        )

    def inscribed(self, height: int, width: int) -> Field:
        """The largest box about its centre that lies in it and in a picture of this size."""
        most_across = min(self.x, width - self.x) / self.across  # of the radius
        most_down = min(self.y, height - self.y) / self.down
        across = down = math.sqrt(0.5)
        if most_down < down:
            down, across = most_down, math.sqrt(1 - most_down**2)
        if most_across < across:
            across, down = most_across, min(most_down, math.sqrt(1 - most_across**2))
        across, down = across * self.across, down * self.down
        left, top = math.ceil(self.x - across), math.ceil(self.y - down)
        return Field(left, top, math.floor(self.x + across), math.floor(self.y + down))


@dataclass(frozen=True)
class Kept:
    """What of each picture is kept.

    Attributes:
        field: a box of it.
        seen: which pixels of the box are, the others black; None: all, (height, width).
        circle: what both are of; None where none was asked for or found.
        note: what the user should know, empty when nothing.
    """

    field: Field | None = None
    seen: NDArray[np.bool_] | None = None
    circle: Circle | None = None
    note: str = ""

    def cut(self, picture: Picture) -> Picture:
        """The part that is kept; the picture itself stays as it is."""
        part = picture if self.field is None else self.field.cut(picture)
        if self.seen is None:
            return part
        return np.where(self.seen[..., None], part, 0).astype(np.uint8)


def kept_of(pictures: Sequence[Picture], crop: Crop) -> Kept:
    """What is kept of a recording's pictures; where nothing is found whole pictures.

    Args:
        pictures: of one size, a few spread over the recording.
        crop: as :class:`~histoscope.domains.surgery.options.FrameSampling` says it.
    """
    if crop == "none":
        return Kept()
    if crop == "field":
        field = find_field(list(pictures))
        return Kept(field, note="" if field else f"{NOT_FOUND} field of view was found")
    circle = find_circle(pictures)
    if circle is None:
        return Kept(note=f"{NOT_FOUND} circle of the scope was found")
    size = pictures[0].shape[:2]
    if crop == "inside":
        return Kept(circle.inscribed(*size), circle=circle)
    field = circle.box(*size)
    whole = circle.inside(*size)
    return Kept(field, whole[field.top : field.bottom, field.left : field.right], circle)


def find_circle(pictures: Sequence[Picture]) -> Circle | None:
    """The circle of light in frames of one recording; None where none is sure.

    What is bright in the median frame lies in it, so a few dark or white ones do no harm. Of each
    row and column the outermost bright pixels are points of its rim, but those at a border; circles
    through three drawn ones are tried, and the best is fitted to all that agree (Fischler and
    Bolles 1981, "Random sample consensus"; Kasa 1976 for the fit).

    Args:
        pictures: of one size, a few spread over the recording, (height, width, 3).
    """
    if not pictures:
        return None
    light = np.median([picture.max(axis=2) for picture in pictures], axis=0)
    light = cv2.GaussianBlur(light, (5, 5), 0)
    level = _level(light)
    if level is None:
        return None
    points = _rim(_largest(light > level))
    height, width = light.shape
    if len(points) < (height + width) / 4:
        return None
    low, high = (share * math.hypot(height, width) for share in RADII)
    for wider in WIDER:
        made = _agreed(points * (wider, 1))
        if made is not None and low <= made[2] / math.sqrt(wider) <= high:
            x, y, radius = made
            told = (x / wider, y, radius / wider, radius)
            return Circle(*(round(one, 2) for one in told))
    return None


def _level(light: NDArray[np.float64]) -> float | None:
    """Where between surround and field the rim lies; None: no corners that are black."""
    height, width = light.shape
    side = max(2, min(height, width) // CORNER)
    corners = [
        float(np.median(part[:, across]))
        for part in (light[:side], light[-side:])
        for across in (slice(side), slice(-side, None))
    ]
    dark = sorted(corners)[:3]  # something may be written in one
    surround = float(np.median(dark))
    middle = light[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3]
    field = float(np.median(middle))
    if max(dark) > SURROUND_LEVEL or field - surround < DIMMEST:
        return None
    return surround + max(DIMMEST / 2, EDGE * (field - surround))


def _largest(seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest part that hangs together, so that nothing written beside counts."""
    _, parts, facts, _ = cv2.connectedComponentsWithStats(seen.astype(np.uint8))
    sizes = facts[1:, cv2.CC_STAT_AREA]
    return np.asarray(parts == 1 + int(sizes.argmax())) if len(sizes) else seen


def _rim(seen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Outer edges of the first and last bright pixel of each line, (points, 2) as x, y.

    But those at the borders of all that is bright, which may be the picture's own.
    """
    found = []
    for turned, whole in ((False, seen), (True, seen.T)):
        lines, columns = (np.flatnonzero(whole.any(axis=axis)) for axis in (1, 0))
        if not len(lines):
            return np.zeros((0, 2))
        low, high = columns[0] + BORDER_PX, columns[-1] + 1 - BORDER_PX
        first = whole[lines].argmax(1)
        last = whole.shape[1] - whole[lines][:, ::-1].argmax(1)
        for at in (first, last):
            free = (at > low) & (at < high)
            pair = [at[free].astype(float), lines[free] + 0.5]
            found.append(np.stack(pair[::-1] if turned else pair, 1))
    return np.concatenate(found)


def _agreed(points: NDArray[np.float64]) -> Round | None:
    """The circle that most points lie on, if these are enough and seen from enough sides."""
    rng, best = generator(0, "surgery/scope"), np.zeros(len(points), bool)
    for _ in range(TRIES):
        tried = _fitted(points[rng.choice(len(points), 3, replace=False)])
        near = _near(points, tried)
        best = near if near.sum() > best.sum() else best
    for _ in range(3):
        made = _fitted(points[best])
        best = _near(points, made)
    if made is None:
        return None
    away = points[best] - made[:2]
    turns = np.unique((np.arctan2(away[:, 1], away[:, 0]) / (2 * math.pi) * TURNS).astype(int))
    return made if best.mean() >= AGREED and len(turns) >= SEEN_TURNS else None


def _near(points: NDArray[np.float64], made: Round | None) -> NDArray[np.bool_]:
    """Which points lie on a circle."""
    if made is None:
        return np.zeros(len(points), bool)
    away = np.hypot(*(points - made[:2]).T)
    return np.asarray(np.abs(away - made[2]) <= max(NEAR_PX, NEAR * made[2]))


def _fitted(points: NDArray[np.float64]) -> Round | None:
    """Least squares of x² + y² = 2ax + 2by + c; None of less than three, or of those in a line."""
    if len(points) < 3:
        return None
    middle = points.mean(axis=0)
    x, y = (points - middle).T
    columns = np.stack([2 * x, 2 * y, np.ones_like(x)], 1)
    answer, _, rank, _ = np.linalg.lstsq(columns, x**2 + y**2, rcond=1e-9)
    if rank < 3:
        return None
    a, b, c = (float(one) for one in answer)
    radius = math.sqrt(max(0.0, c + a**2 + b**2))
    return a + float(middle[0]), b + float(middle[1]), radius
