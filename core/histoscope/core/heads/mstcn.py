"""Heads that answer each sample of a source from those around it, or before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar, Self

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
from histoscope.core.heads.dilated import logits_of, shapes_of


@dataclass(frozen=True)
class StagesHead:
    """Stages of dilated convolutions over the samples of a source in order (MS-TCN).

    See :func:`~histoscope.core.heads.dilated.logits_of`. The samples of a bag are taken to be
    equally far apart: where some could not be read, the others close up.

    Attributes:
        centre: float32, (dim,): features are taken from here, see :func:`scaled`.
        stages: float32, see :func:`~histoscope.core.heads.dilated.shapes_of`.
        causal: whether an answer reads no sample that comes after its own.
        exclusive: softmax over the classes; else a sigmoid for each.
        thresholds: float32, (classes,), for classes that are not exclusive.
    """

    centre: Rows
    stages: Mapping[str, Rows]
    causal: bool
    exclusive: bool = True
    thresholds: Rows | None = None
    kind: ClassVar[str] = "mstcn"
    level: ClassVar[Level] = "sample"
    ordered: ClassVar[bool] = True

    @classmethod
    def of(cls, tensors: Tensors, task: Task, dim: int, thresholds: Rows | None) -> Self:
        """See :class:`Head`."""
        stages = shapes_of(tensors, dim, len(task.classes))
        check_tensors(tensors, {**stages, "centre": (dim,), "causal": ()})
        causal = tensors["causal"]
        if causal.dtype != np.int64 or int(causal) not in (0, 1):
            raise ValueError("causal is 0 or 1")
        if not stages or any(tensors[name].dtype != np.float32 for name in (*stages, "centre")):
            raise ValueError("such a head has one stage or more, of floats")
        if task.exclusive and thresholds is not None:
            raise ValueError("exclusive classes have no thresholds")
        kept = {name: tensors[name] for name in stages}
        return cls(tensors["centre"], kept, bool(causal), task.exclusive, thresholds)

    @property
    def cut(self) -> Rows:
        """The thresholds, 0.5 where none were fitted."""
        return cut_of(self.thresholds, len(self.stages["stages.0.out.bias"]))

    def logits(self, features: Rows) -> Rows:
        """Of the samples of one source in order, before softmax or sigmoids, (rows, classes)."""
        import torch

        kept = {name: torch.from_numpy(values) for name, values in self.stages.items()}
        with torch.inference_mode():
            rows = torch.from_numpy(scaled(features, self.centre))
            told = logits_of(rows, kept, self.causal, exclusive=self.exclusive)
            return np.asarray(told[-1].numpy(), np.float32)

    def probabilities(self, bags: Bags) -> Rows:
        """(rows, classes); exclusive: rows sum to 1."""
        told = np.zeros((len(bags.features), len(self.cut)), np.float32)
        for start, end in pairwise(bags.starts.tolist()):
            logits = self.logits(bags.features[start:end])
            if not self.exclusive:
                told[start:end] = sigmoid(logits)
                continue
            powers = np.exp(logits - logits.max(axis=1, keepdims=True))
            told[start:end] = powers / powers.sum(axis=1, keepdims=True)
        return told

    def cooled(self, temperature: float) -> Self:
        """The head whose answers' logits are divided by a temperature."""
        return self._with_last({name: one / temperature for name, one in self._last.items()})

    def silenced(self, known: NDArray[np.bool_]) -> Self:
        """The head that says 0.5, whatever it is shown, of other classes than these, (classes,).

        Of classes of which several may hold.
        """
        return self._with_last({name: (one.T * known).T for name, one in self._last.items()})

    @property
    def _last(self) -> dict[str, Rows]:
        """Weight and bias, which give the logits of the answer."""
        last = sum(name.endswith(".out.bias") for name in self.stages) - 1
        names = (f"stages.{last}.out.weight", f"stages.{last}.out.bias")
        return {name: self.stages[name] for name in names}

    def _with_last(self, changed: Mapping[str, Rows]) -> Self:
        floats = {name: np.asarray(one, np.float32, order="C") for name, one in changed.items()}
        return replace(self, stages={**self.stages, **floats})

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """``centre``, ``causal`` (1 or 0), and those of the stages."""
        return {"centre": self.centre, "causal": np.array(self.causal, np.int64), **self.stages}


def scaled(features: Rows, centre: Rows) -> Rows:
    """Features seen from a centre, with a root mean square of 1 in each row, (rows, dim)."""
    return (unit_rows(features, centre) * features.shape[1] ** 0.5).astype(np.float32)
