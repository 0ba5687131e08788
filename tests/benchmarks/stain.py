"""Sides of the comparisons of stain augmentation; all on one thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import cv2
import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from histoscope.core.encoders.making import random_encoder
from histoscope.core.encoders.pixels import to_unit
from histoscope.core.objectives.contract import Clock, Rows, Setting, Views
from histoscope.core.objectives.simclr import SimCLR, SimCLRSpec
from histoscope.core.optim.groups import make_optimiser
from histoscope.core.training.spec import PretrainSpec
from histoscope.core.views.plan import DeviceOperation
from histoscope.core.views.warp import library
from histoscope.domains.pathology.stain import StainJitter, StainSpec
from histoscope.domains.pathology.stain_statistics import StainStatistics, StatisticsSpec

Act = Callable[[], object]

# the train part of PatchCamelyon, as `histoscope stain` measures it, without its correlation
MEANS = {
    "lab": [[57, 12], [26, 9], [-11, 12]],
    "hsv": [[0.86, 0.05], [0.35, 0.13], [0.69, 0.10]],
    "hed": [[0.55, 0.31], [0.33, 0.18], [0.38, 0.21]],
}
STDS = {
    "lab": [[17, 4], [6, 2.5], [6, 2]],
    "hsv": [[0.04, 0.01], [0.15, 0.04], [0.16, 0.04]],
    "hed": [[0.44, 0.17], [0.28, 0.15], [0.22, 0.09]],
}


def one_thread() -> None:
    """Hold torch, OpenCV and NumPy's linear algebra to one thread, as a worker is."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    threadpool_limits(1)


def operations() -> dict[str, DeviceOperation]:
    """Every stain operation by a name for a person."""
    made: dict[str, DeviceOperation] = {
        "HED jitter": StainJitter(StainSpec.model_validate("hed-strong"))
    }
    for space in MEANS:
        body = {"kind": "statistics", "space": space, "mean": MEANS[space], "std": STDS[space]}
        made[f"statistics in {space}"] = StainStatistics(StatisticsSpec.model_validate(body))
    return made


def tiles(count: int, side_px: int) -> NDArray[np.uint8]:
    """Two stains in any mixture, (count, side_px, side_px, 3)."""
    amounts = np.random.default_rng(0).gamma(2, 0.3, (count, side_px, side_px, 2))
    density = amounts @ np.array([(0.65, 0.70, 0.29), (0.10, 0.95, 0.30)])
    return np.rint(255 * np.exp(-density)).astype(np.uint8)


def change(operation: DeviceOperation, images: torch.Tensor) -> Act:
    """Draw for every image and apply, as the worker and the device do."""

    def act() -> torch.Tensor:
        rng = np.random.default_rng(0)
        drawn = torch.from_numpy(np.stack([operation.draw(rng) for _ in images]))
        return operation.apply(images, drawn)

    return act


def from_uint8(operation: DeviceOperation, pictures: NDArray[np.uint8]) -> Act:
    """:func:`change` from the bytes of pictures: what the training road does, and no more."""
    return lambda: change(operation, images_of(pictures))()


def albumentations_stain(pictures: NDArray[np.uint8]) -> Act:
    """The same work as its users call it: an image at a time, uint8 to uint8, own defaults."""
    transform = library().HEStain(p=1)
    return lambda: [transform(image=picture)["image"] for picture in pictures]


def training_step(batch: int, side_px: int) -> Act:
    """Forward, backward and update of SimCLR with a ResNet-18, without any augmentation."""
    spec = PretrainSpec()
    encoder = random_encoder(spec.encoder, side_px, 0)
    setting = Setting(
        samples=batch,
        steps=1,
        steps_an_epoch=1,
        batch_size=batch,
        size_px=side_px,
        table=pa.table({}),
        relations=lambda: pa.table({}),
        open=lambda word: encoder,
        open_model=lambda word, task: encoder,
    )
    objective: Any = SimCLR(encoder, cast(SimCLRSpec, spec.objective), setting)
    objective = objective.to(memory_format=torch.channels_last)
    optimiser = make_optimiser(objective.groups(), spec.training.optimiser)
    pictures = images_of(tiles(batch, side_px))
    views = [pictures for _ in range(2)]

    def act() -> None:
        optimiser.zero_grad(set_to_none=True)
        projected = objective.project(Views({"global": views}))
        rows = Rows.alone(torch.arange(batch))
        objective.loss(projected, rows, {}, Clock(0, 1, 0)).loss.backward()
        optimiser.step()

    return act


def images_of(pictures: NDArray[np.uint8]) -> torch.Tensor:
    """Pictures as an operation takes them."""
    return to_unit(torch.from_numpy(pictures))
