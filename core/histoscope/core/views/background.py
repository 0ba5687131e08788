"""What lies behind subjects, changed: removed, or another image's.

Ryali, Schwab and Morcos 2021, "Characterizing and Improving the Robustness of Self-Supervised
Learning through Background Augmentations". Differs: what is removed is not black or grey by
default but what the source shows where nothing is, since black is a cue; all is composed before
colours change, which both parts then share; a view whose subject is too small or too large stays.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate, pad

from histoscope.core.views.beside import Beside, Donor
from histoscope.core.views.spec import BackgroundSpec

MASK = "mask"  # kind of the plane: 1 where the subject is
BEHIND, BEFORE = 0, 1  # which donor of a view gives its background, and which its subject
OF_VIEW = 2  # donors of each view where a subject is wanted, too
PARTS = (2, 3, 4, 6, 8)  # of a side: squares of these sizes are looked for, the largest first


class Background:
    """Drawn as (on, opposed, grey level, which square)."""

    name = "background"
    width = 4

    def __init__(self, spec: BackgroundSpec) -> None:
        self.spec = spec
        self.planes: Mapping[str, str | None] = {MASK: spec.provider}
        self.donors = {"remove": 0, "random": 1, "swap": OF_VIEW}[spec.kind]
        self.matches = spec.kind == "swap"

    def draw(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """Four numbers."""
        on, opposed, level, square = rng.random(4)
        return np.array([on < self.spec.p, opposed < self.spec.p, level, square], dtype=np.float32)

    def fits(self, images: Tensor, beside: Beside) -> Tensor:
        """Where the subject's share of the view lies in ``area``, and a donor has a background."""
        low, high = self.spec.area
        share = _share(beside.planes[MASK])
        fits = (share >= low) & (share <= high)
        if self.donors:
            fits = fits & (_share(beside.donors[BEHIND].planes[MASK]) <= high)
        return fits

    def compose(self, images: Tensor, drawn: Tensor, beside: Beside) -> Tensor:
        """The subject before another background, where it is on and fits."""
        on = (drawn[:, 0] > 0) & self.fits(images, beside)
        subject = beside.planes[MASK] > 0
        kept = subject | ~on[:, None, None]
        return torch.where(kept[:, None], images, self._other(images, drawn, beside))

    def match(self, images: Tensor, drawn: Tensor, beside: Beside) -> tuple[Tensor, Tensor]:
        """Another image's subject before the background that the view shows."""
        low, high = self.spec.area
        changed = (drawn[:, 0] > 0) & self.fits(images, beside)
        own = Donor(images, beside.planes, beside.fills)
        behind = torch.where(
            changed[:, None, None, None],
            self._other(images, drawn, beside),
            self._completed(own, drawn),
        )
        other = _as_large(beside.donors[BEFORE], images)
        shares = [_share(planes[MASK]) for planes in (beside.planes, other.planes)]
        known = drawn[:, 1] > 0
        for share in shares:
            known = known & (share >= low) & (share <= high)
        return torch.where((other.planes[MASK] > 0)[:, None], other.images, behind), known

    def _other(self, images: Tensor, drawn: Tensor, beside: Beside) -> Tensor:
        """What is shown behind the subject instead, everywhere."""
        if not self.donors:
            own = Donor(images, beside.planes, beside.fills)
            return self._fill(own, drawn)[:, :, None, None].expand_as(images)
        return self._completed(_as_large(beside.donors[BEHIND], images), drawn)

    def _completed(self, donor: Donor, drawn: Tensor) -> Tensor:
        """An image's background, its subject covered with a square that is free of it."""
        subject = donor.planes[MASK] > 0
        squares, free = repeated(donor.images, subject, drawn[:, 3])
        blank = self._fill(donor, drawn)[:, :, None, None]
        hole = torch.where(free[:, None, None, None], squares, blank)
        return torch.where(subject[:, None], hole, donor.images)

    def _fill(self, donor: Donor, drawn: Tensor) -> Tensor:
        """A colour for each image, (batch, 3)."""
        if self.spec.fill == "grey":
            return drawn[:, 2:3].to(donor.images.dtype).expand(-1, 3)
        return donor.fills[MASK].to(donor.images.dtype)


def repeated(images: Tensor, subject: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Each image covered with one square of its own that shows nothing of the subject.

    The square stays where it is, and is repeated around itself. The largest is taken that is found
    free on a grid of a quarter of its side; of several one is drawn.

    Args:
        images: (batch, 3, height, width).
        subject: bool, (batch, height, width).
        numbers: what is drawn, in [0, 1), (batch,).

    Returns:
        (batch, 3, height, width), and bool, (batch,): where there is such a square.
    """
    height, width = images.shape[-2:]
    found = torch.zeros(len(images), dtype=torch.bool, device=images.device)
    top, left, side = (torch.zeros_like(found, dtype=torch.long) for _ in range(3))
    side += 1
    counted = pad(subject.int().cumsum(1).cumsum(2), (1, 0, 1, 0))  # subject above and left of
    for part in PARTS:
        size = max(1, min(height, width) // part)
        stride = max(1, size // 4)
        free = _within(counted, size)[:, ::stride, ::stride] == 0
        flat = free.flatten(1)
        count = flat.sum(1)
        nth = torch.minimum((numbers * count).long() + 1, count)
        place = (flat.cumsum(1) >= nth[:, None]).int().argmax(1)
        here = (count > 0) & ~found
        columns = free.shape[-1]
        top = torch.where(here, place // columns * stride, top)
        left = torch.where(here, place % columns * stride, left)
        side = torch.where(here, size, side)
        found = found | here
    rows, across = _places(top, side, height), _places(left, side, width)
    places = (rows[:, :, None] * width + across[:, None]).flatten(1)[:, None].expand(-1, 3, -1)
    return images.flatten(2).gather(2, places).reshape(images.shape), found


def _within(counted: Tensor, size: int) -> Tensor:
    """How much of the subject each square of a size holds, by its corner."""
    ends, begins = slice(size, None), slice(None, -size)
    return (
        counted[:, ends, ends]
        - counted[:, begins, ends]
        - counted[:, ends, begins]
        + counted[:, begins, begins]
    )


def _places(begin: Tensor, side: Tensor, length: int) -> Tensor:
    """Which place of an image each of its places shows, (batch, length)."""
    places = torch.arange(length, device=begin.device)[None]
    return begin[:, None] + (places - begin[:, None]) % side[:, None]


def _share(mask: Tensor) -> Tensor:
    """How much of a view its subject is, (batch,)."""
    return (mask > 0).float().mean((1, 2))


def _as_large(donor: Donor, images: Tensor) -> Donor:
    """A donor in the size of views of another family; masks by nearest."""
    size = images.shape[-2:]
    if donor.images.shape[-2:] == size:
        return donor
    smaller = size[0] <= donor.images.shape[-2]
    how = "area" if smaller else "nearest-exact"
    masks = donor.planes[MASK][:, None].float()
    planes = {MASK: interpolate(masks, size, mode="nearest-exact").squeeze(1).to(torch.uint8)}
    return Donor(interpolate(donor.images, size, mode=how), planes, donor.fills)
