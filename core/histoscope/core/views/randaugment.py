"""RandAugment on the worker, with drawn numbers; torchvision does each change."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histoscope.core.views.spec import RandAugmentSpec

STRONGEST = 30
GREY = [127.0, 127.0, 127.0]  # what a moved image leaves behind

Change = Callable[[Any, Any, float, list[float]], Any]


def _moved(axis: int) -> Change:
    def change(functional: Any, image: Any, by: float, fill: list[float]) -> Any:
        way = [0, 0]
        way[axis] = int(by * 150 / 331 * image.shape[-1])
        return functional.affine(image, 0.0, way, 1.0, [0.0, 0.0], fill=fill)

    return change


def _sheared(axis: int) -> Change:
    def change(functional: Any, image: Any, by: float, fill: list[float]) -> Any:
        angles = [0.0, 0.0]
        angles[axis] = math.degrees(math.atan(0.3 * by))
        corner = [0, 0]
        return functional.affine(image, 0.0, [0, 0], 1.0, angles, fill=fill, center=corner)

    return change


# ``by`` is -1..1; the largest changes are those of torchvision's RandAugment, AutoAugment's
CHANGES: dict[str, Change] = {
    "identity": lambda f, image, by, fill: image,
    "shear x": _sheared(0),
    "shear y": _sheared(1),
    "translate x": _moved(0),
    "translate y": _moved(1),
    "rotate": lambda f, image, by, fill: f.rotate(image, 30 * by, fill=fill),
    "brightness": lambda f, image, by, fill: f.adjust_brightness(image, 1 + 0.9 * by),
    "colour": lambda f, image, by, fill: f.adjust_saturation(image, 1 + 0.9 * by),
    "contrast": lambda f, image, by, fill: f.adjust_contrast(image, 1 + 0.9 * by),
    "sharpness": lambda f, image, by, fill: f.adjust_sharpness(image, 1 + 0.9 * by),
    "posterise": lambda f, image, by, fill: f.posterize(image, 8 - round(4 * abs(by))),
    "solarise": lambda f, image, by, fill: f.solarize(image, 255 * (1 - abs(by))),
    "autocontrast": lambda f, image, by, fill: f.autocontrast(image),
    "equalise": lambda f, image, by, fill: f.equalize(image),
}
MOVES = ("shear x", "shear y", "translate x", "translate y", "rotate")  # all of them by nearest


class RandAugment:
    """Drawn as (on, then for each change which and in which direction)."""

    name = "randaugment"

    def __init__(self, spec: RandAugmentSpec) -> None:
        self.spec = spec

    def draw(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """1 + 2 · count numbers."""
        which = rng.integers(len(CHANGES), size=self.spec.count)
        signs = rng.choice([-1, 1], size=self.spec.count)
        return np.array([rng.random() < self.spec.p, *which, *signs], dtype=np.float32)

    def apply(self, image: NDArray[np.uint8], drawn: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Change one image, (height, width, 3), if it is on."""
        return self._changed(image, drawn, tuple(CHANGES), GREY) if drawn[0] else image

    def apply_to_plane(
        self, plane: NDArray[np.uint8], drawn: NDArray[np.float32]
    ) -> NDArray[np.uint8]:
        """What moves the image moves its plane, (height, width); 0 comes in from outside."""
        if not drawn[0]:
            return plane
        return self._changed(plane[:, :, None], drawn, MOVES, [0.0])[:, :, 0]

    def _changed(
        self,
        image: NDArray[np.uint8],
        drawn: NDArray[np.float32],
        allowed: Sequence[str],
        fill: list[float],
    ) -> NDArray[np.uint8]:
        import torch
        from torchvision.transforms import functional

        strength, count = self.spec.magnitude / STRONGEST, self.spec.count
        names, changed = list(CHANGES), torch.from_numpy(image.copy()).permute(2, 0, 1)
        for which, sign in zip(drawn[1 : 1 + count], drawn[1 + count :], strict=True):
            if (name := names[int(which)]) in allowed:
                changed = CHANGES[name](functional, changed, float(sign) * strength, fill)
        out: NDArray[np.uint8] = np.ascontiguousarray(changed.permute(1, 2, 0).numpy())
        return out
