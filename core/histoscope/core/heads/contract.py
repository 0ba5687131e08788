"""What a head owes, scores of classes from features, and what heads do alike."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

EVEN, NEVER = 0.5, 1.0
_LEAST = 1e-24  # of a squared length
Rows = NDArray[np.float32]
Truth = NDArray[np.int64]
Numbers = TypeVar("Numbers")  # NumPy arrays or torch tensors


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


def unit_rows(features: Numbers, centre: Numbers) -> Numbers:
    """Features seen from a centre, at unit length (Wang et al. 2019, "SimpleShot", CL2N).

    Args:
        features: (rows, dim).
        centre: (dim,), of the same kind.
    """
    away: Any = features - centre  # type: ignore[operator]
    squares = (away * away).sum(axis=1, keepdims=True)
    unit: Numbers = away / squares.clip(min=_LEAST) ** 0.5
    return unit
