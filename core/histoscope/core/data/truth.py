"""What is true of samples or sources, as far as it is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histoscope.core.contracts import Task

UNKNOWN = -1


@dataclass(frozen=True)
class Truth:
    """Answers to a task, one an example.

    Attributes:
        task: the question.
        values: class ids, (examples,); where classes are not exclusive 1, 0 or -1 for each class,
            (examples, classes). -1 is unknown.
    """

    task: Task
    values: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.values)

    def take(self, places: NDArray[np.int64] | NDArray[np.bool_]) -> Truth:
        """That of some examples."""
        return Truth(self.task, self.values[places])

    @property
    def known(self) -> NDArray[np.bool_]:
        """Of which examples anything is known, (examples,)."""
        known = self.values != UNKNOWN
        return np.asarray(known if self.task.exclusive else known.any(axis=1))

    @property
    def holds(self) -> NDArray[np.bool_]:
        """Which classes are known to hold, (examples, classes)."""
        if self.task.exclusive:
            return np.asarray(self.values[:, None] == np.arange(len(self.task.classes)))
        return np.asarray(self.values == 1)

    @property
    def denied(self) -> NDArray[np.bool_]:
        """Which classes are known not to hold, (examples, classes)."""
        if self.task.exclusive:
            return np.asarray(self.known[:, None] & ~self.holds)
        return np.asarray(self.values == 0)

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which classes hold anywhere, (classes,)."""
        return np.asarray(self.holds.any(axis=0))

    def spread(self, places: NDArray[np.int64], count: int) -> Truth:
        """As many examples as ``count``: these at their places, nothing known of the others."""
        values = np.full((count, *self.values.shape[1:]), UNKNOWN, np.int64)
        values[places] = self.values
        return Truth(self.task, values)

    def told(self, names: Sequence[str]) -> list[str]:
        """Each example's name with its label, for digests: other labels are other data."""
        labels = self.values.tolist()
        classes = ",".join(self.task.classes)
        return [f"{self.task.name}/{classes}", *map("{}={}".format, names, labels)]
