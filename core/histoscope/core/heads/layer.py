"""Heads that look at one layer of an encoder that gives several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from histoscope.core.contracts import Level, Task
from histoscope.core.heads.contract import Bags, Rows, Tensors
from histoscope.core.heads.linear import LinearHead
from histoscope.core.heads.mean import MeanHead


@dataclass(frozen=True)
class LayerHead:
    """A head of a part of each row of features.

    Attributes:
        inner: of the part; of sources one of its mean.
        start: where the part begins.
        stop: where it ends.
    """

    inner: LinearHead | MeanHead
    start: int
    stop: int
    kind: ClassVar[str] = "layer"

    @classmethod
    def of(cls, tensors: Tensors, task: Task, dim: int, thresholds: Rows | None) -> Self:
        """See :class:`Head`."""
        start, stop = (_whole(tensors.get(name)) for name in ("start", "stop"))
        if not 0 <= start < stop <= dim:
            raise ValueError(f"places {start} to {stop} are no part of {dim} features")
        rest = {name: one for name, one in tensors.items() if name not in ("start", "stop")}
        kind: type[LinearHead | MeanHead] = MeanHead if task.level == "source" else LinearHead
        return cls(kind.of(rest, task, stop - start, thresholds), start, stop)

    @property
    def level(self) -> Level:
        """As the inner head's."""
        return self.inner.level

    @property
    def exclusive(self) -> bool:
        """Whether exactly one class holds."""
        return self.inner.exclusive

    @property
    def cut(self) -> Rows:
        """The thresholds, 0.5 where none were fitted."""
        return self.inner.cut

    def probabilities(self, bags: Bags) -> Rows:
        """(bags, classes); exclusive: rows sum to 1."""
        return self.inner.probabilities(bags.part(slice(self.start, self.stop)))

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Those of the inner head, ``start`` and ``stop``."""
        ends = {"start": self.start, "stop": self.stop}
        return {**self.inner.tensors(), **{name: np.array(n, np.int64) for name, n in ends.items()}}


def _whole(value: Any) -> int:
    """One whole number of a package.

    Raises:
        ValueError: it is none.
    """
    if value is None or value.shape != () or value.dtype != np.int64:
        raise ValueError("start and stop are whole numbers")
    return int(value)
