"""What masks hold: how much of their images is subject."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from histoscope.core.data.shard import Shard
from histoscope.core.errors import DataError


@dataclass(frozen=True)
class Tally:
    """What masks hold.

    Attributes:
        masks: how many.
        share: of their pixels that are subject, summed over masks.
        empty: masks without a subject.
        full: masks that are nothing else.
    """

    masks: int = 0
    share: float = 0.0
    empty: int = 0
    full: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.masks + other.masks,
            self.share + other.share,
            self.empty + other.empty,
            self.full + other.full,
        )

    @classmethod
    def of(cls, mask: NDArray[Any]) -> Tally:
        """Of one mask, true or not 0 where the subject is."""
        share = np.count_nonzero(mask) / mask.size
        return cls(1, share, int(share == 0), int(share == 1))

    @property
    def mean(self) -> float:
        """Mean share, over masks."""
        return self.share / max(1, self.masks)


def tally_of(file: Path) -> Tally:
    """What the masks of a file hold. Raises DataError: it is damaged."""
    shard = Shard(file)
    try:
        pictures = (imagecodecs.png_decode(shard.data(row)) for row in range(shard.rows))
        return sum(map(Tally.of, pictures), Tally())
    except (RuntimeError, ValueError, IndexError):  # imagecodecs' errors are of these kinds
        raise DataError(f"{file}: damaged; make its masks again") from None
