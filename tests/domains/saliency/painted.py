"""Tiles and frames of both phantoms, and what was painted there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
from numpy.typing import NDArray

from histoscope.core.contracts.masks import MaskMaker
from histoscope.domains.pathology.phantom import sections
from histoscope.domains.surgery.phantom.camera import film
from histoscope.domains.surgery.phantom.script import write_script

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Painted = list[tuple[Image, Mask]]
BAG = 6  # the specimen bag is an outline of two pixels, nothing that a mask could cover


def section(case: int, side_px: int = 512) -> tuple[Image, NDArray[np.uint8], NDArray[np.float64]]:
    """Pixels of a section, its truth (0 on glass), and its amount of haematoxylin; 1 um/px."""
    seen: list[Any] = []
    record = sections.record

    def spy(stains: Any, tissue: Any, *rest: Any) -> Any:
        seen.append(stains[0] * tissue)
        return record(stains, tissue, *rest)

    with patch.object(sections, "record", spy):
        made = sections.make_section(0, case, side_px)
    return made.pixels, made.truth, seen[0]


def tiles_of(pixels: Image, truth: Mask, tile_px: int = 64) -> Painted:
    """A section and its truth in tiles, row by row."""
    places = [
        (slice(y, y + tile_px), slice(x, x + tile_px))
        for y in range(0, len(pixels), tile_px)
        for x in range(0, len(pixels), tile_px)
    ]
    return [(np.ascontiguousarray(pixels[place]), truth[place]) for place in places]


def tissue_tiles(case: int) -> Painted:
    """Tiles of 64 px with where tissue was painted."""
    pixels, truth, _ = section(case)
    return tiles_of(pixels, truth > 0)


def nuclei_tiles(case: int) -> Painted:
    """Tiles of 64 px with where nuclei were painted densely.

    Painted haematoxylin, blurred by 2.5 um, is above half the amount of a nucleus: a quarter of
    each class is painted as nuclei, whose amount is about 0.9.
    """
    pixels, _, amount = section(case)
    return tiles_of(pixels, cv2.GaussianBlur(amount, (0, 0), 2.5) > 0.45)


def frames(operation: int, size: tuple[int, int] = (192, 108), count: int = 300) -> Painted:
    """Every tenth frame of an operation with the pixels of its tools.

    The same film is shot twice, with tools and without; where the two differ, a tool was painted.
    Frames with a specimen bag, of the room, black or frozen are left out.
    """
    script = write_script(0, operation, count, 5)
    script.tools[:, BAG] = False
    nothing = replace(script, tools=np.zeros_like(script.tools))
    shot = zip(
        film(0, operation, script, size, 5), film(0, operation, nothing, size, 5), strict=True
    )
    fit = ~(script.outside | script.black | script.frozen)
    return [
        (picture, (picture != bare).any(axis=2))
        for number, (picture, bare) in enumerate(shot)
        if fit[number] and number % 10 == 0
    ]


def pictures_of(painted: Painted) -> list[Image]:
    """Images alone."""
    return [image for image, _ in painted]


def agreement(maker: MaskMaker, painted: Painted) -> tuple[float, float, float]:
    """IoU, recall and precision over all pixels of one source."""
    both = either = true = found = 0
    for mask, (_, truth) in zip(maker.of_source(pictures_of(painted)).masks, painted, strict=True):
        both += int((mask & truth).sum())
        either += int((mask | truth).sum())
        true += int(truth.sum())
        found += int(mask.sum())
    return both / max(1, either), both / max(1, true), both / max(1, found)
