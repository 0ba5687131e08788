"""The order of pretraining, and the batches on it.

S = ⌊N/B⌋ steps an epoch; step s reads positions [B·(s mod S), B·(s mod S + 1)) of the
permutation of epoch s div S. So a step number is all that resuming needs.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from histoscope.core.data.order import StepOrder
from histoscope.core.data.store import ImageReader
from histoscope.core.runtime.stop import deaf_children
from histoscope.core.views.plan import ViewPlan


@dataclass(frozen=True)
class Drawn:
    """One batch as the workers hand it over.

    Attributes:
        index: dataset positions, int64, (batch,).
        images: uint8, (views, batch, height, width, 3).
        drawn: the operations' numbers, float32, (views, batch, numbers).
    """

    index: Tensor
    images: Tensor
    drawn: Tensor


class ViewDataset(Dataset[tuple[int, NDArray[np.uint8], NDArray[np.float32]]]):
    """Views of the images at index rows, with the numbers that the device operations need."""

    def __init__(
        self, reader: ImageReader, rows: NDArray[np.int64], plan: ViewPlan, views: int, seed: int
    ) -> None:
        self.reader, self.rows, self.plan = reader, rows, plan
        self.views, self.seed = views, seed

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(
        self, key: tuple[int, int]
    ) -> tuple[int, NDArray[np.uint8], NDArray[np.float32]]:
        position, epoch = key
        image = self.reader.image(int(self.rows[position]))
        pairs = [self.plan.draw(self.seed, epoch, position, view) for view in range(self.views)]
        images = np.stack([self.plan.apply_on_worker(image, rows) for rows, _ in pairs])
        return position, images, np.stack([numbers for _, numbers in pairs])


def collate(items: list[tuple[int, NDArray[np.uint8], NDArray[np.float32]]]) -> Drawn:
    """Stack items; view-major, so that ``images[v]`` is one view of the batch."""
    index, images, drawn = zip(*items, strict=True)
    return Drawn(
        torch.tensor(index),
        torch.from_numpy(np.stack(images, axis=1)),
        torch.from_numpy(np.stack(drawn, axis=1)),
    )


def view_loader(dataset: ViewDataset, order: StepOrder, workers: int) -> Iterator[Drawn]:
    """Batches for the steps of ``order``; workers start by spawn and persist."""
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_sampler=order,
        collate_fn=collate,
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
        prefetch_factor=2 if workers else None,
    )
    with deaf_children(signal.SIGINT, signal.SIGTERM):
        return iter(loader)
