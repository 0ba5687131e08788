"""The order of pretraining.

S = ⌊N/B⌋ steps an epoch; step s reads positions [B·(s mod S), B·(s mod S + 1)) of the
permutation of epoch s div S. So a step number is all that resuming needs.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from histoscope.core.errors import UsageError
from histoscope.core.randomness import permutation


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
