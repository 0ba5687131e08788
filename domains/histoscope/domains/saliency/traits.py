"""What can be said of the places of an image without an encoder: colour, texture, where it is.

Places are the cells of a grid that is no finer than the image, shorter side GRID.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from histoscope.domains.saliency.shapes import Plane, blur

if TYPE_CHECKING:
    from histoscope.core.contracts.masks import Image

GRID = 80  # cells along the shorter side; colours are looked at on twice as many
NEAR, WIDE, AROUND = (0.02, 0.06), 0.25, 0.04  # deviations of blurs, of the shorter side


def grid_of(image: Image) -> tuple[int, int]:
    """Columns and rows of an image's grid."""
    height, width = image.shape[:2]
    ratio = min(1.0, GRID / min(height, width))
    return max(1, round(width * ratio)), max(1, round(height * ratio))


def traits(image: Image) -> Plane:
    """CIE L*a*b*, its means and deviations nearby, edges, and place; (rows, columns, 27)."""
    columns, rows = size = grid_of(image)
    twice = (min(2 * columns, image.shape[1]), min(2 * rows, image.shape[0]))
    small = np.asarray(cv2.resize(image, twice, interpolation=cv2.INTER_AREA))
    unit = small.astype(np.float32) / 255
    lab: Plane = np.asarray(cv2.cvtColor(unit, cv2.COLOR_RGB2LAB), np.float32)
    side_px = min(twice)

    def down(plane: Plane) -> Plane:
        out = cv2.resize(plane, size, interpolation=cv2.INTER_AREA)
        return np.asarray(out, np.float32).reshape(rows, columns, -1)

    here = down(lab)
    planes = [
        here,
        np.hypot(here[..., 1:2], here[..., 2:3]),
        50 * here[..., 1:2] / (here[..., :1] + 5),
    ]
    for deviation in NEAR:
        mean = blur(lab, deviation * side_px)
        square = blur(lab**2, deviation * side_px)
        planes += [down(mean), down(np.sqrt((square - mean**2).clip(0))[..., :2])]
    planes += [down(one) for one in _edges(lab[..., 0], side_px)]
    planes += [here - down(blur(lab, WIDE * side_px)), here - lab.mean(axis=(0, 1))]
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    y, x = (y + 0.5) / rows - 0.5, (x + 0.5) / columns - 0.5
    planes += [np.stack((x, y, np.abs(x), np.hypot(x, y)), axis=2)]
    return np.concatenate(planes, axis=2, dtype=np.float32)


def _edges(light: Plane, side_px: int) -> tuple[Plane, Plane]:
    """How steep brightness is nearby, and how far its slopes point one way, 0 to 1."""
    across = cv2.Sobel(light, cv2.CV_32F, 1, 0)
    down = cv2.Sobel(light, cv2.CV_32F, 0, 1)
    steep = blur(np.hypot(across, down), NEAR[0] * side_px)
    xx, yy, xy = (
        blur(one, AROUND * side_px) for one in (across * across, down * down, across * down)
    )
    one_way = np.sqrt((xx - yy) ** 2 + 4 * xy**2) / (xx + yy + 1e-3)
    return steep, np.asarray(one_way, np.float32)
