"""Warps of a cropped view by albumentations, on the worker; the one place that imports it.

albumentations keeps a generator of its own, which repeats between workers. So a warp draws a seed
like any other number and sets it before each image.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from histoscope.core.errors import ConfigError
from histoscope.core.views.spec import GridDistortionSpec, WarpSpec

SEEDS = 1 << 24  # draws travel as float32, which holds whole numbers exactly up to here


def library() -> Any:
    """The module albumentations, without the request to its registry that importing it sends."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    import albumentations

    return albumentations


@dataclass(frozen=True)
class Warp:
    """One transform of albumentations in a share of the views.

    Attributes:
        name: key of its draws.
        p: probability.
        kind: albumentations' name of the transform.
        settings: what it is made with.
    """

    name: str
    p: float
    kind: str
    settings: Mapping[str, Any]

    def draw(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """(on, seed)."""
        return np.array([rng.random() < self.p, rng.integers(SEEDS)], dtype=np.float32)

    def apply(self, image: NDArray[np.uint8], drawn: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Warp one image, (height, width, 3), if it is on."""
        on, seed = drawn
        if not on:
            return image
        self._transform.set_random_seed(int(seed))
        warped: NDArray[np.uint8] = self._transform(image=image)["image"]
        return warped

    def apply_to_plane(
        self, plane: NDArray[np.uint8], drawn: NDArray[np.float32]
    ) -> NDArray[np.uint8]:
        """The same of a plane, (height, width), whose values are not blended."""
        on, seed = drawn
        if not on:
            return plane
        self._transform.set_random_seed(int(seed))
        image = np.zeros((*plane.shape, 3), np.uint8)  # what is drawn depends on its shape alone
        warped: NDArray[np.uint8] = self._transform(image=image, mask=plane)["mask"]
        return warped

    @cached_property
    def _transform(self) -> Any:
        return getattr(library(), self.kind)(**self.settings, p=1)


def warps(spec: WarpSpec, size_px: int) -> list[Warp]:
    """The warps that are on, for views of side ``size_px``.

    Raises:
        ConfigError: the distortion's grid does not reach the edge of such a view.
    """
    made = []
    if spec.distortion.p:
        made.append(_distortion(spec.distortion, size_px))
    if spec.shuffle.p:
        grid = (spec.shuffle.grid, spec.shuffle.grid)
        made.append(Warp("shuffle", spec.shuffle.p, "RandomGridShuffle", {"grid": grid}))
    return made


def _distortion(spec: GridDistortionSpec, size_px: int) -> Warp:
    """As in Stacke et al.'s code: what lies outside the view is mirrored in."""
    if not _reaches(spec.steps, size_px):
        near = max(steps for steps in range(1, spec.steps) if _reaches(steps, size_px))
        raise ConfigError(
            f"views.warp.distortion.steps: {spec.steps} cells do not fill a view of {size_px} px; "
            f"--set views.warp.distortion.steps={near}"
        )
    settings = {
        "num_steps": spec.steps,
        "distort_limit": spec.limit,
        "normalized": False,
        "border_mode": cv2.BORDER_REFLECT,
    }
    return Warp("distortion", spec.p, "GridDistortion", settings)


def _reaches(steps: int, size_px: int) -> bool:
    # the transform cuts cells of ⌊side / steps⌋ px and one more for the rest; where the rest is
    # larger, the last pixels show the first column again (2.0.8)
    return (steps + 1) * (size_px // steps) >= size_px
