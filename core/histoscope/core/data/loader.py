"""Batches of pretraining: views of images, cut by workers with drawn numbers."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from histoscope.core.data.order import StepOrder
from histoscope.core.data.relations import NOBODY, Partners
from histoscope.core.data.store import ImageReader
from histoscope.core.runtime.stop import deaf_children
from histoscope.core.views.plan import GLOBAL, ViewPlan

Item = tuple[int, dict[str, tuple[NDArray[np.uint8], NDArray[np.float32]]], NDArray[np.int64]]
PARTNER = "partner"  # the family of views of second images


@dataclass(frozen=True)
class Family:
    """Views of one kind: how each is made, and how many of an image there are."""

    plan: ViewPlan
    count: int


@dataclass(frozen=True)
class DrawnViews:
    """Views of one family of a batch.

    Attributes:
        images: uint8, (views, batch, height, width, 3).
        drawn: the operations' numbers, float32, (views, batch, numbers).
    """

    images: Tensor
    drawn: Tensor


@dataclass(frozen=True)
class Drawn:
    """One batch as the workers hand it over.

    Attributes:
        index: dataset positions, int64, (batch,).
        families: its views by the name of their family.
        partners: dataset positions of each image's partners, int64, (batch, partners); -1: none.
    """

    index: Tensor
    families: Mapping[str, DrawnViews]
    partners: Tensor


class ViewDataset(Dataset[Item]):
    """Views of the images at index rows, with the numbers that the device operations need."""

    def __init__(
        self,
        reader: ImageReader,
        rows: NDArray[np.int64],
        families: Mapping[str, Family],
        seed: int,
        partners: Partners | None = None,
    ) -> None:
        self.reader, self.rows, self.seed, self.partners = reader, rows, seed, partners
        usual_first = sorted(families, key=lambda name: name != GLOBAL)
        self.families = {name: families[name] for name in usual_first}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: tuple[int, int, int]) -> Item:
        position, epoch, turn = key
        others = np.zeros(0, np.int64)
        if self.partners is not None:
            others = self.partners.of(position, epoch)
        image = self._image(position)
        # where a partner is missing the image itself stands in, as batch norm sees every view
        seconds = [image if at == NOBODY else self._image(int(at)) for at in others]
        views, first = {}, None
        for name, family in self.families.items():
            which = range(turn * family.count, (turn + 1) * family.count)
            places = [(self.seed, epoch, position, view) for view in which]
            pairs = [family.plan.draw(*place, family=name, first=first) for place in places]
            if name == GLOBAL:
                first = pairs[0][0][0]
            images = seconds if name == PARTNER else repeat(image)
            made = [
                family.plan.apply_on_worker(one, rows)
                for one, (rows, _) in zip(images, pairs, strict=False)
            ]
            views[name] = np.stack(made), np.stack([numbers for _, numbers in pairs])
        return position, views, others

    def _image(self, position: int) -> NDArray[np.uint8]:
        return self.reader.image(int(self.rows[position]))


def collate(items: list[Item]) -> Drawn:
    """Stack items; view-major, so that ``images[v]`` is one view of the batch."""

    def stacked(name: str, place: int) -> Tensor:
        return torch.from_numpy(np.stack([views[name][place] for _, views, _ in items], axis=1))

    index = torch.tensor([position for position, _, _ in items])
    partners = torch.from_numpy(np.stack([others for _, _, others in items]))
    families = {name: DrawnViews(stacked(name, 0), stacked(name, 1)) for name in items[0][1]}
    return Drawn(index, families, partners)


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
