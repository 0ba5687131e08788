"""What a head owes: scores of classes from features."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

EVEN, NEVER = 0.5, 1.0
Rows = NDArray[np.float32]
Truth = NDArray[np.int64]


class Head(Protocol):
    """Scores of classes from features.

    Attributes:
        exclusive: whether exactly one class holds.
        thresholds: float32, (classes,), from which score on a class counts as present.
    """

    @property
    def exclusive(self) -> bool:
        """Whether rows of probabilities sum to 1."""

    @property
    def cut(self) -> Rows:
        """The thresholds, 0.5 where none were fitted."""

    def probabilities(self, features: Rows) -> Rows:
        """(rows, dim) to (rows, classes); exclusive: rows sum to 1."""

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """All that a package keeps of it."""


def cut_of(thresholds: Rows | None, classes: int) -> Rows:
    """Thresholds of each class, 0.5 where none were fitted."""
    return np.full(classes, EVEN, np.float32) if thresholds is None else thresholds
