"""A view: geometry on the worker, then operations on the device, each with drawn numbers.

Every number is drawn by Philox under (seed, operation) at (epoch, sample, view), so adding an
operation changes no other's draws, and neither workers nor devices change any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from histoscope.core.config import Spec
from histoscope.core.randomness import generator
from histoscope.core.views.colour import Blur, BlurSpec, Grey, Jitter, JitterSpec
from histoscope.core.views.geometry import Geometry, GeometrySpec


class ViewsSpec(Spec):
    """The augmentations of pretraining; a domain may add its own under ``domain``."""

    geometry: GeometrySpec = Field(GeometrySpec(), description="crop, mirror, turn, size")
    jitter: JitterSpec = Field(JitterSpec(), description="brightness to hue")
    grey: float = Field(0.1, ge=0, le=1, description="probability of a grey view")
    blur: BlurSpec = Field(BlurSpec(), description="Gaussian blur")
    domain: Mapping[str, Any] = Field({}, description="what the domain adds, by its own names")


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
    """How one view is made."""

    geometry: Geometry
    operations: Sequence[DeviceOperation]

    def draw(
        self, seed: int, epoch: int, sample: int, view: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Numbers of one view: the geometry's, and all operations' in a row."""
        makers: list[Geometry | DeviceOperation] = [self.geometry, *self.operations]
        drawn = [
            operation.draw(generator(seed, f"views/{operation.name}", epoch, sample, view))
            for operation in makers
        ]
        rest = drawn[1:]
        return drawn[0], np.concatenate(rest) if rest else np.zeros(0, dtype=np.float32)

    def apply_on_device(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Run the operations in order on a batch."""
        start = 0
        for operation in self.operations:
            images = operation.apply(images, drawn[:, start : start + operation.width])
            start += operation.width
        return images


def plain_plan(spec: ViewsSpec, size_px: int, first: Sequence[DeviceOperation] = ()) -> ViewPlan:
    """The core's operations behind the domain's own."""
    operations: list[DeviceOperation] = [*first]
    if spec.jitter.p:
        operations.append(Jitter(spec.jitter))
    if spec.grey:
        operations.append(Grey(spec.grey))
    if spec.blur.p:
        operations.append(Blur(spec.blur))
    return ViewPlan(Geometry(spec.geometry, size_px), tuple(operations))
