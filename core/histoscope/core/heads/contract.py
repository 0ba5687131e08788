"""What a head owes, scores of classes from features, and what heads do alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from histoscope.core.contracts import Level, Task

EVEN, NEVER = 0.5, 1.0
_LEAST = 1e-24  # of a squared length
Rows = NDArray[np.float32]
Labels = NDArray[np.int64]  # class ids, (rows,), or 1, 0, -1 (unknown), (rows, classes)
Tensors = Mapping[str, NDArray[Any]]
Numbers = TypeVar("Numbers")  # NumPy arrays or torch tensors


@dataclass(frozen=True)
class Bags:
    """Features of examples: of a sample its own, of a source those of its readable samples.

    Attributes:
        features: float32, (rows, dim); rows of one bag stand together, in reading order.
        starts: where each bag begins, and the end, (bags + 1,); none is empty.
    """

    features: Rows
    starts: NDArray[np.int64]

    @classmethod
    def of_samples(cls, features: Rows) -> Bags:
        """One row a bag."""
        return cls(features, np.arange(len(features) + 1))

    @classmethod
    def of_one(cls, features: Rows) -> Bags:
        """All rows in one bag."""
        return cls(features, np.array([0, len(features)]))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def take(self, places: NDArray[np.int64]) -> Bags:
        """Some of them, in that order."""
        parts = [self.features[self.starts[at] : self.starts[at + 1]] for at in places.tolist()]
        none = self.features[:0]
        return Bags(np.concatenate([none, *parts]), np.cumsum([0, *map(len, parts)]))

    def part(self, place: slice) -> Bags:
        """All of them, of each row a part."""
        return Bags(np.ascontiguousarray(self.features[:, place]), self.starts)

    def means(self) -> Rows:
        """The mean row of each bag, (bags, dim)."""
        if len(self) == len(self.features):
            return self.features
        means = np.zeros((len(self), self.features.shape[1]), np.float32)
        for place, (start, end) in enumerate(pairwise(self.starts)):
            means[place] = self.features[start:end].mean(axis=0, dtype=np.float64)
        return means


class Head(Protocol):
    """Scores of classes from features; a kind of head is such a class.

    Attributes:
        kind: its name in the registry.
        level: what one bag is: a sample, or a source with its samples.
        exclusive: whether exactly one class holds.
        thresholds: float32, (classes,), from which score on a class counts as present.
        ordered: may be absent, see :func:`is_ordered`.
    """

    kind: ClassVar[str]

    @classmethod
    def of(cls, tensors: Tensors, task: Task, dim: int, thresholds: Rows | None) -> Self:
        """The head that a package keeps.

        Args:
            tensors: what :meth:`tensors` gave; floats are float32, whole numbers int64.
            task: what it answers.
            dim: width of a feature row.
            thresholds: as below.

        Raises:
            ValueError: the tensors are not of such a head.
        """

    @property
    def level(self) -> Level:
        """What one bag is."""

    @property
    def exclusive(self) -> bool:
        """Whether rows of probabilities sum to 1."""

    @property
    def cut(self) -> Rows:
        """The thresholds, 0.5 where none were fitted."""

    def probabilities(self, bags: Bags) -> Rows:
        """(bags, classes), of an ordered head (rows, classes); exclusive: rows sum to 1."""

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """All that a package keeps of it."""


def is_ordered(head: Head) -> bool:
    """Whether a head of samples reads those of a source together, in their order.

    Its bags are whole sources, or their stretches where the domain knows of gaps: each with all
    readable samples of a part of the store or, when it predicts, of all. It gives one answer a row.
    """
    return bool(getattr(head, "ordered", False))


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


def sigmoid(logits: NDArray[np.floating]) -> NDArray[np.floating]:
    """Probabilities of classes that may be present together, without overflow; of the same kind."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)))


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
