"""A view: crop and warps on the worker, the rest on the device, each with drawn numbers.

Every number is drawn by Philox under (seed, family, operation) at (epoch, sample, view), so adding
an operation or a family changes no other's draws, and neither workers nor devices change any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from histoscope.core.randomness import generator
from histoscope.core.views.background import Background
from histoscope.core.views.beside import Beside, Compositor
from histoscope.core.views.colour import Blur, Grey, Jitter
from histoscope.core.views.erasing import Erasing, Solarise
from histoscope.core.views.geometry import Geometry
from histoscope.core.views.randaugment import RandAugment
from histoscope.core.views.spec import ViewsSpec
from histoscope.core.views.warp import Warp, warps

GLOBAL = "global"  # the family of views that every objective has


class DeviceOperation(Protocol):
    """One augmentation on the device.

    Attributes:
        name: key of its draws, unique in a plan.
        width: how many numbers it draws.
    """

    name: str
    width: int

    def draw(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """``width`` numbers for one image."""

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Images (batch, 3, height, width), RGB in 0..1; drawn (batch, width). Pure."""


@dataclass(frozen=True)
class ViewPlan:
    """How one view is made: cut and warped by a worker, then finished on the device."""

    geometry: Geometry
    warps: Sequence[Warp | RandAugment]
    operations: Sequence[DeviceOperation | Compositor]

    @property
    def compositors(self) -> list[Any]:
        """Those operations that want planes or donors."""
        return [one for one in self.operations if hasattr(one, "compose")]

    @property
    def on_worker(self) -> list[Geometry | Warp | RandAugment]:
        """What a worker does, in order."""
        return [self.geometry, *self.warps]

    def draw(
        self,
        seed: int,
        epoch: int,
        sample: int,
        view: int,
        family: str = GLOBAL,
        first: NDArray[np.float32] | None = None,
    ) -> tuple[list[NDArray[np.float32]], NDArray[np.float32]]:
        """Numbers of one view: the worker's rows, and those of all operations in one row.

        Args:
            seed: of the run.
            epoch, sample, view: which view.
            family: of the view.
            first: what the geometry of the image's first global view has drawn.
        """
        of = "views" if family == GLOBAL else f"views/{family}"

        def rng(name: str) -> np.random.Generator:
            return generator(seed, f"{of}/{name}", epoch, sample, view)

        others = [*self.warps, *self.operations]
        drawn = [self.geometry.draw(rng(self.geometry.name), first)]
        drawn += [maker.draw(rng(maker.name)) for maker in others]
        rest = len(self.on_worker)
        return drawn[:rest], np.concatenate([np.zeros(0, dtype=np.float32), *drawn[rest:]])

    def apply_on_worker(
        self, image: NDArray[np.uint8], drawn: Sequence[NDArray[np.float32]]
    ) -> NDArray[np.uint8]:
        """Cut a view out of one image, (height, width, 3), and warp it."""
        for maker, row in zip(self.on_worker, drawn, strict=True):
            image = maker.apply(image, row)
        return image

    def apply_to_plane(
        self, plane: NDArray[np.uint8], drawn: Sequence[NDArray[np.float32]]
    ) -> NDArray[np.uint8]:
        """The same of a plane of the image, (height, width), by nearest."""
        for maker, row in zip(self.on_worker, drawn, strict=True):
            plane = maker.apply_to_plane(plane, row)
        return plane

    def apply_on_device(
        self, images: Tensor, drawn: Tensor, beside: Beside | None = None
    ) -> Tensor:
        """Run the operations in order on a batch; what is beside it is for compositors."""
        return self._run(images, drawn, beside or Beside(), 0)

    def match_on_device(
        self, images: Tensor, drawn: Tensor, beside: Beside
    ) -> tuple[Tensor, Tensor]:
        """What opposes a view, in the colours that this view is given; see :class:`Compositor`.

        Only where the first operation is one that matches, as all others come after it.
        """
        first: Any = self.operations[0]
        made, known = first.match(images, drawn[:, : first.width], beside)
        return self._run(made, drawn, beside, 1), known

    @property
    def matches(self) -> bool:
        """Whether there is anything that opposes a view."""
        return bool(self.operations) and getattr(self.operations[0], "matches", False)

    def _run(self, images: Tensor, drawn: Tensor, beside: Beside, begin: int) -> Tensor:
        start = 0
        for place, operation in enumerate(self.operations):
            numbers = drawn[:, start : start + operation.width]
            start += operation.width
            if place < begin:
                continue
            if hasattr(operation, "compose"):
                images = operation.compose(images, numbers, beside)
            else:
                images = operation.apply(images, numbers)
        return images


def plain_plan(spec: ViewsSpec, size_px: int, first: Sequence[DeviceOperation] = ()) -> ViewPlan:
    """The core's operations; the domain's own are the first on the device, behind backgrounds.

    Raises:
        ConfigError: a warp does not fit views of this size.
    """
    geometry = Geometry(spec.geometry, size_px)
    operations: list[DeviceOperation | Compositor] = [*first]
    if spec.background.p:
        operations.insert(0, Background(spec.background))  # before all colours, which it shares
    if spec.jitter.p:
        operations.append(Jitter(spec.jitter))
    if spec.grey:
        operations.append(Grey(spec.grey))
    if spec.blur.p:
        operations.append(Blur(spec.blur))
    if spec.solarise.p:
        operations.append(Solarise(spec.solarise))
    if spec.erasing.p:
        operations.append(Erasing(spec.erasing))
    made: list[Warp | RandAugment] = [*warps(spec.warp, geometry.size_px)]
    if spec.randaugment.p:
        made.append(RandAugment(spec.randaugment))
    return ViewPlan(geometry, made, tuple(operations))
