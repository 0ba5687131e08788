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
from torch.utils.data import DataLoader, Dataset, Sampler

from histoscope.core.batch.stop import deaf_children
from histoscope.core.data.store import ImageReader
from histoscope.core.errors import UsageError
from histoscope.core.randomness import permutation
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


class StepOrder(Sampler[list[tuple[int, int]]]):
    """Batches of (dataset position, epoch) for the steps [first, last).

    Args:
        count: samples.
        batch_size: of the global batch.
        seed: of the order.
        first, last: steps.
        share: (rank, ranks): which equal part of each batch, in order, is this process's.

    Raises:
        UsageError: fewer samples than one batch.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: int,
        first: int,
        last: int,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        if count < batch_size:
            raise UsageError(
                f"{count} samples are fewer than one batch of {batch_size}; set a smaller batch "
                "(--set training.batch_size=N) or prepare more"
            )
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.first, self.last, self.share = first, last, share

    def __len__(self) -> int:
        return self.last - self.first

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        a_epoch = self.count // self.batch_size
        current, order = -1, np.zeros(0, dtype=np.int64)
        for step in range(self.first, self.last):
            epoch, place = divmod(step, a_epoch)
            if epoch != current:
                current, order = epoch, permutation(self.seed, epoch, self.count)
            rank, ranks = self.share
            size = self.batch_size // ranks
            start = place * self.batch_size + rank * size
            part = order[start : start + size]
            yield [(int(position), epoch) for position in part]


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
