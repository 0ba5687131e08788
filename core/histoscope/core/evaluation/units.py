"""The units that are resampled (cases, else sources or samples), and sums over their samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Units:
    """Which unit each sample belongs to.

    Attributes:
        names: of the units, sorted.
        place: of each sample's unit among them, (samples,).
    """

    names: tuple[str, ...]
    place: NDArray[np.intp]

    @classmethod
    def of(cls, names: Sequence[str]) -> Units:
        """Units by the name of each sample's."""
        known, place = np.unique(np.asarray(names, dtype=str), return_inverse=True)
        return cls(tuple(known.tolist()), place.reshape(-1))

    @classmethod
    def whole(cls, samples: int) -> Units:
        """All samples in one unit."""
        return cls(("all",), np.zeros(samples, np.intp))

    def __len__(self) -> int:
        return len(self.names)

    def take(self, samples: NDArray[np.bool_]) -> Units:
        """The same units with some of the samples."""
        return Units(self.names, self.place[samples])

    def sums(self, values: NDArray[np.generic]) -> NDArray[np.float64]:
        """Sums over each unit's samples, (units, ...), of values (samples, ...)."""
        out = np.zeros((len(self), *values.shape[1:]))
        np.add.at(out, self.place, values)
        return out

    def of_samples(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weights of units, (resamples, units), as those of their samples."""
        return weights[:, self.place]
