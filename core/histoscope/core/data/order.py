"""The order of pretraining.

S = ⌊M/B⌋ steps an epoch of M positions; step s reads places [B·(s mod S), B·(s mod S + 1)) of the
positions of epoch s div S. So a step number is all that resuming needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from histoscope.core.errors import DataError, UsageError
from histoscope.core.randomness import generator, permutation

Kind = Literal["uniform", "per_source_cap", "per_case"]
Share = tuple[int, int]
ALONE: Share = (0, 1)


class Positions:
    """Which samples an epoch reads, and in what order; drawn by (seed, epoch).

    ``uniform``: each once. ``per_source_cap``: of each source at most so many, others in another
    epoch. ``per_case``: of each case as many, those of a small one again and again, so that a large
    one does not drown the rest.

    Args:
        kind: as above.
        count: samples.
        seed: of the order.
        groups: source or case of each sample, (count,); None suits ``uniform``.
        cap: of ``per_source_cap``.

    Raises:
        DataError: per case, but a sample has none.

    Attributes:
        count: positions of an epoch.
        said: one clause for a person, empty where there is nothing to say.
    """

    def __init__(
        self,
        kind: Kind,
        count: int,
        seed: int,
        groups: Sequence[str | None] | None = None,
        cap: int = 0,
    ) -> None:
        self._kind, self._samples, self._seed, self._cap = kind, count, seed, cap
        self.count, self.said = count, ""
        if kind == "uniform":
            return
        assert groups is not None
        if kind == "per_case" and None in groups:
            raise DataError(
                "training.positions: per_case, but some samples have no case; give per_source_cap"
            )
        _, self._group = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
        sizes = np.bincount(self._group)
        if kind == "per_source_cap":
            self.count = int(np.minimum(sizes, cap).sum())
            self.said = f"at most {cap} samples a source an epoch: {self.count} of {count}"
        else:
            self._quota = max(1, count // len(sizes))
            self.count = self._quota * len(sizes)
            self.said = f"{self._quota} samples of each of {len(sizes)} cases an epoch"

    def of_epoch(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Samples of an epoch in their order, and how often each came before, (positions,) each."""
        order = permutation(self._seed, epoch, self._samples)
        if self._kind == "uniform":
            return order, np.zeros_like(order)
        place, size = _places_in_groups(self._group[order])
        if self._kind == "per_source_cap":
            order = order[place < self._cap]
            return order, np.zeros_like(order)
        rounds = -(-self._quota // size)  # how often a case's samples come, at most
        again = np.repeat(np.arange(len(order)), rounds)
        turn = np.concatenate([np.arange(count) for count in rounds])
        kept = np.flatnonzero(place[again] + turn * size[again] < self._quota)
        kept = generator(self._seed, "order/cases", epoch).permutation(kept)
        return order[again[kept]], turn[kept]


def _places_in_groups(groups: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each element its place among those of its group, and the size of that."""
    sizes = np.bincount(groups)
    sorted_ = np.argsort(groups, kind="stable")
    place = np.empty(len(groups), np.int64)
    place[sorted_] = np.arange(len(groups)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return place, sizes[groups]


class StepOrder(Sampler[list[tuple[int, int, int]]]):
    """Batches of (dataset index, epoch, turn) for the steps [first, last).

    The turn counts how often a sample came before in its epoch: it has other views each time.

    Args:
        positions: what an epoch reads.
        batch_size: of the global batch.
        first, last: steps.
        share: (rank, ranks): which equal part of each batch, in order, is this process's.

    Raises:
        UsageError: fewer positions than one batch.

    Attributes:
        an_epoch: steps an epoch.
    """

    def __init__(
        self, positions: Positions, batch_size: int, first: int, last: int, share: Share = ALONE
    ) -> None:
        if positions.count < batch_size:
            raise UsageError(
                f"{positions.count} samples are fewer than one batch of {batch_size}; set a "
                "smaller batch (--set training.batch_size=N) or prepare more"
            )
        self._positions, self._batch_size = positions, batch_size
        self._first, self._last, self._share = first, last, share
        self.an_epoch = positions.count // batch_size

    def __len__(self) -> int:
        return self._last - self._first

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        current, order = -1, np.zeros(0, dtype=np.int64)
        turns = order
        rank, ranks = self._share
        size = self._batch_size // ranks
        for step in range(self._first, self._last):
            epoch, place = divmod(step, self.an_epoch)
            if epoch != current:
                current, (order, turns) = epoch, self._positions.of_epoch(epoch)
            start = place * self._batch_size + rank * size
            places = range(start, start + size)
            yield [(int(order[place]), epoch, int(turns[place])) for place in places]
