"""Heads of a source that look at the mean of its samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from histoscope.core.contracts import Level, Task
from histoscope.core.heads.contract import Bags, Rows, Tensors
from histoscope.core.heads.linear import LinearHead


@dataclass(frozen=True)
class MeanHead:
    """A linear head of a source's mean feature; every sample counts the same.

    Attributes:
        linear: of the mean, (dim,).
    """

    linear: LinearHead
    kind: ClassVar[str] = "mean"
    level: ClassVar[Level] = "source"

    @classmethod
    def of(cls, tensors: Tensors, task: Task, dim: int, thresholds: Rows | None) -> Self:
        """See :class:`Head`."""
        return cls(LinearHead.of(tensors, task, dim, thresholds))

    @property
    def exclusive(self) -> bool:
        """Whether exactly one class holds."""
        return self.linear.exclusive

    @property
    def cut(self) -> Rows:
        """The thresholds, 0.5 where none were fitted."""
        return self.linear.cut

    def probabilities(self, bags: Bags) -> Rows:
        """(bags, classes); exclusive: rows sum to 1."""
        return self.linear.probabilities(Bags.of_samples(bags.means()))

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Those of the linear head."""
        return self.linear.tensors()
