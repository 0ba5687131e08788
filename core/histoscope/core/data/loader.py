"""Batches of pretraining: views of images, cut by workers with drawn numbers."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from histoscope.core.data.companions import ORDERED, Companions
from histoscope.core.data.order import StepOrder
from histoscope.core.data.planes import Planes
from histoscope.core.data.relations import NOBODY, Donors, Partners
from histoscope.core.data.store import ImageReader
from histoscope.core.errors import HistoscopeError, UsageError
from histoscope.core.runtime.stop import deaf_children
from histoscope.core.views.plan import GLOBAL, ViewPlan

NO_SHARED_MEMORY = ("out of shared memory", "shared memory", "</torch_")  # in torch's words
PARTNER, DONOR = "partner", "donor"  # families of views of second images


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
        planes: by kind, cut as the images, uint8, (views, batch, height, width).
        fills: by kind of plane the colour behind its subjects, uint8, (views, batch, 3).
    """

    images: Tensor
    drawn: Tensor
    planes: Mapping[str, Tensor]
    fills: Mapping[str, Tensor]


@dataclass(frozen=True)
class Drawn:
    """One batch as the workers hand it over.

    Attributes:
        index: dataset positions, int64, (batch,).
        families: its views by the name of their family.
        partners: dataset positions of each image's partners, int64, (batch, partners); -1: none.
        donors: dataset positions of each image's donors, int64, (batch, donors).
        ordered: dataset positions of each image and its companions in their order, int64,
            (batch, ordered); -1: none.
    """

    index: Tensor
    families: Mapping[str, DrawnViews]
    partners: Tensor
    donors: Tensor
    ordered: Tensor

    def share(self) -> None:
        """Move it to shared memory, as going to another process does.

        Raises:
            RuntimeError: there is not enough. Unshared, a thread of torch's would meet that, keep
                it to itself, and the training would wait for ever.
        """
        parts = [self.index, self.partners, self.donors, self.ordered]
        for views in self.families.values():
            parts += [views.images, views.drawn, *views.planes.values(), *views.fills.values()]
        for one in parts:
            one.share_memory_()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Cut:
    """Views of one family of one image, view-major; as :class:`DrawnViews`."""

    images: NDArray[np.uint8]
    drawn: NDArray[np.float32]
    planes: Mapping[str, NDArray[np.uint8]]
    fills: Mapping[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class Item:
    """One image as a worker makes it; as :class:`Drawn`."""

    position: int
    families: Mapping[str, Cut]
    partners: NDArray[np.int64]
    donors: NDArray[np.int64]
    ordered: NDArray[np.int64]


class ViewDataset(Dataset[Item]):
    """Views of the images at index rows, with the numbers that the device operations need."""

    def __init__(
        self,
        reader: ImageReader,
        rows: NDArray[np.int64],
        families: Mapping[str, Family],
        seed: int,
        partners: Partners | None = None,
        donors: Donors | None = None,
        planes: Mapping[str, Planes] | None = None,
        companions: Companions | None = None,
    ) -> None:
        self.reader, self.rows, self.seed = reader, rows, seed
        self.partners, self.donors, self.companions = partners, donors, companions
        self.planes = planes or {}
        usual_first = sorted(families, key=lambda name: name != GLOBAL)
        self.families = {name: families[name] for name in usual_first}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: tuple[int, int, int]) -> Item:
        position, epoch, turn = key
        partners = donors = ordered = np.zeros(0, np.int64)
        if self.partners is not None:
            partners = self.partners.of(position, epoch)
        if self.donors is not None:
            donors = self.donors.of(position, epoch)
        if self.companions is not None:
            ordered = self.companions.of(position, epoch, turn)
        # where one is missing the image itself stands in, as batch norm sees every view
        others = {
            name: np.where(found == NOBODY, position, found)
            for name, found in ((PARTNER, partners), (DONOR, donors), (ORDERED, ordered))
        }
        image, families, first = cache(self._image), {}, None
        for name, family in self.families.items():
            which = range(turn * family.count, (turn + 1) * family.count)
            places = [(self.seed, epoch, position, view) for view in which]
            pairs = [family.plan.draw(*place, family=name, first=first) for place in places]
            if name == GLOBAL:
                first = pairs[0][0][0]
            shown = others.get(name, np.full(family.count, position))
            families[name] = self._cut(family.plan, image, shown.tolist(), pairs)
        return Item(position, families, partners, donors, ordered)

    def _cut(
        self,
        plan: ViewPlan,
        image: Callable[[int], NDArray[np.uint8]],
        shown: Sequence[int],
        pairs: Sequence[tuple[list[NDArray[np.float32]], NDArray[np.float32]]],
    ) -> Cut:
        """A view of each of some positions with its numbers."""
        made = [
            plan.apply_on_worker(image(at), rows)
            for at, (rows, _) in zip(shown, pairs, strict=True)
        ]
        planes = {
            kind: np.stack(
                [
                    plan.apply_to_plane(planes.plane(int(self.rows[at])), rows)
                    for at, (rows, _) in zip(shown, pairs, strict=True)
                ]
            )
            for kind, planes in self.planes.items()
        }
        fills = {
            kind: np.stack([planes.fill(int(self.rows[at])) for at in shown])
            for kind, planes in self.planes.items()
        }
        return Cut(np.stack(made), np.stack([numbers for _, numbers in pairs]), planes, fills)

    def _image(self, position: int) -> NDArray[np.uint8]:
        return self.reader.image(int(self.rows[position]))


def collate(items: list[Item]) -> Drawn:
    """Stack items; view-major, so that ``images[v]`` is one view of the batch."""

    def stacked(parts: Iterable[NDArray[Any]]) -> Tensor:
        return torch.from_numpy(np.stack([*parts], axis=1))

    families = {
        name: DrawnViews(
            stacked(item.families[name].images for item in items),
            stacked(item.families[name].drawn for item in items),
            {
                kind: stacked(item.families[name].planes[kind] for item in items)
                for kind in usual.planes
            },
            {
                kind: stacked(item.families[name].fills[kind] for item in items)
                for kind in usual.fills
            },
        )
        for name, usual in items[0].families.items()
    }
    drawn = Drawn(
        torch.tensor([item.position for item in items]),
        families,
        torch.from_numpy(np.stack([item.partners for item in items])),
        torch.from_numpy(np.stack([item.donors for item in items])),
        torch.from_numpy(np.stack([item.ordered for item in items])),
    )
    if get_worker_info() is not None:
        drawn.share()
    return drawn


def view_loader(dataset: ViewDataset, order: StepOrder, workers: int) -> Iterator[Drawn]:
    """Batches for the steps of ``order``; workers start by spawn and persist.

    Raises:
        HistoscopeError: what a worker met, in its own words.
        UsageError: the machine has too little shared memory for workers.
    """
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_sampler=order,
        collate_fn=collate,
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
        prefetch_factor=2 if workers else None,
    )
    with deaf_children(signal.SIGINT, signal.SIGTERM):
        batches = iter(loader)  # starts the workers
    return _in_one_line(batches)


def _in_one_line(batches: Iterator[Drawn]) -> Iterator[Drawn]:
    """The same; of what a worker met without the lines that torch puts before it."""
    try:
        yield from batches
    except HistoscopeError as fault:
        words = str(fault).strip().splitlines()[-1]
        raise type(fault)(words.removeprefix(f"{_name_of(fault)}: ")) from None
    except RuntimeError as fault:
        if not any(words in str(fault) for words in NO_SHARED_MEMORY):
            raise
        raise UsageError(
            "--workers: this machine has too little shared memory (/dev/shm) for them; give it "
            "more (a container: --shm-size), or --workers 0; the same command goes on"
        ) from None
    finally:
        # a fault keeps the loader alive, and its workers, deaf to SIGTERM, the program at its end
        end = getattr(batches, "_shutdown_workers", None)  # not there without workers
        if end is not None:
            end()


def _name_of(fault: Exception) -> str:
    """As a traceback names it."""
    return f"{type(fault).__module__}.{type(fault).__qualname__}"
