"""What a head owes, scores of classes from features, and what heads do alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

EVEN, NEVER = 0.5, 1.0
_LEAST = 1e-24  # of a squared length
Rows = NDArray[np.float32]
Truth = NDArray[np.int64]
Tensors = Mapping[str, NDArray[Any]]
Numbers = TypeVar("Numbers")  # NumPy arrays or torch tensors


class Head(Protocol):
    """Scores of classes from features; a kind of head is such a class.

    Attributes:
        kind: its name in the registry.
        exclusive: whether exactly one class holds.
        thresholds: float32, (classes,), from which score on a class counts as present.
    """

    kind: ClassVar[str]

    @classmethod
    def of(
        cls, tensors: Tensors, classes: int, dim: int, exclusive: bool, thresholds: Rows | None
    ) -> Self:
        """The head that a package keeps.

        Args:
            tensors: what :meth:`tensors` gave; floats are float32, whole numbers int64.
            classes: how many it answers with.
            dim: width of a feature row.
            exclusive, thresholds: as below.

        Raises:
            ValueError: the tensors are not of such a head.
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


def check_tensors(tensors: Tensors, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """See that a head's tensors have these names and shapes and are finite.

    Raises:
        ValueError: they are not.
    """
    found = {name: values.shape for name, values in tensors.items()}
    if found != dict(shapes):
        raise ValueError(f"tensors {found}, not {dict(shapes)}")
    for name, values in tensors.items():
        if values.dtype not in (np.float32, np.int64) or not np.isfinite(values).all():
            raise ValueError(f"{name} is no finite number of a head")


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
