"""Linear heads: logits of features through softmax or sigmoids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from histoscope.core.contracts import Level, Task
from histoscope.core.heads.contract import (
    Bags,
    Rows,
    Tensors,
    check_tensors,
    cut_of,
    sigmoid,
    unit_rows,
)


def linear(rows: Any, weight: Any, bias: Any) -> Any:
    """Logits, rows · weightᵀ + bias, of NumPy arrays and torch tensors alike."""
    return rows @ weight.T + bias


@dataclass(frozen=True)
class LinearHead:
    """Class scores of features: features · weightᵀ + bias, through softmax or, each, sigmoid.

    Attributes:
        weight: float32, (classes, dim).
        bias: float32, (classes,).
        exclusive: softmax over the classes; else a sigmoid for each.
        thresholds: float32, (classes,), for classes that are not exclusive.
        centre: float32, (dim,): features are taken from here, at unit length; None: as they are.
    """

    weight: Rows
    bias: Rows
    exclusive: bool = True
    thresholds: Rows | None = None
    centre: Rows | None = None
    kind: ClassVar[str] = "linear"
    level: ClassVar[Level] = "sample"

    @classmethod
    def of(cls, tensors: Tensors, task: Task, dim: int, thresholds: Rows | None) -> Self:
        """See :class:`Head`."""
        classes = len(task.classes)
        shapes: dict[str, tuple[int, ...]] = {"weight": (classes, dim), "bias": (classes,)}
        check_tensors(tensors, {**shapes, "centre": (dim,)} if "centre" in tensors else shapes)
        if any(values.dtype != np.float32 for values in tensors.values()):
            raise ValueError("a linear head has floats only")
        return cls(exclusive=task.exclusive, thresholds=thresholds, **tensors)

    @property
    def cut(self) -> Rows:
        """The thresholds, 0.5 where none were fitted."""
        return cut_of(self.thresholds, len(self.bias))

    def logits(self, features: Rows) -> NDArray[np.float64]:
        """(rows, dim) to (rows, classes), before softmax or sigmoid."""
        rows = features if self.centre is None else unit_rows(features, self.centre)
        return linear(rows.astype(np.float64), self.weight.astype(np.float64), self.bias)

    def probabilities(self, bags: Bags) -> Rows:
        """(bags, classes); exclusive: rows sum to 1."""
        return self.scores(self.logits(bags.features))

    def scores(self, logits: NDArray[np.float64]) -> Rows:
        """Softmax, or sigmoids, (rows, classes)."""
        if not self.exclusive:
            return sigmoid(logits).astype(np.float32)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """``weight``, ``bias`` and, where there is one, ``centre``."""
        kept: dict[str, NDArray[np.generic]] = {"weight": self.weight, "bias": self.bias}
        return kept if self.centre is None else {**kept, "centre": self.centre}
