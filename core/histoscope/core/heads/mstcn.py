"""Heads that answer each sample of a source from those around it, or before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from histoscope.core.contracts import Level, Task
from histoscope.core.heads.contract import Bags, Rows, Tensors, check_tensors, cut_of, unit_rows
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
    """

    centre: Rows
    stages: Mapping[str, Rows]
    causal: bool
    kind: ClassVar[str] = "mstcn"
    level: ClassVar[Level] = "sample"
    ordered: ClassVar[bool] = True
    exclusive: ClassVar[bool] = True

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
        if not task.exclusive or thresholds is not None:
            raise ValueError("such a head answers tasks of exclusive classes only")
        return cls(tensors["centre"], {name: tensors[name] for name in stages}, bool(causal))

    @property
    def cut(self) -> Rows:
        """0.5 of each class: none is fitted."""
        return cut_of(None, len(self.stages["stages.0.out.bias"]))

    def logits(self, features: Rows) -> Rows:
        """Of the samples of one source in order, before softmax, (rows, classes)."""
        import torch

        kept = {name: torch.from_numpy(values) for name, values in self.stages.items()}
        with torch.inference_mode():
            rows = torch.from_numpy(scaled(features, self.centre))
            return np.asarray(logits_of(rows, kept, self.causal)[-1].numpy(), np.float32)

    def probabilities(self, bags: Bags) -> Rows:
        """(rows, classes); rows sum to 1."""
        told = np.zeros((len(bags.features), len(self.cut)), np.float32)
        for start, end in pairwise(bags.starts.tolist()):
            logits = self.logits(bags.features[start:end])
            powers = np.exp(logits - logits.max(axis=1, keepdims=True))
            told[start:end] = powers / powers.sum(axis=1, keepdims=True)
        return told

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """``centre``, ``causal`` (1 or 0), and those of the stages."""
        return {"centre": self.centre, "causal": np.array(self.causal, np.int64), **self.stages}


def scaled(features: Rows, centre: Rows) -> Rows:
    """Features seen from a centre, with a root mean square of 1 in each row, (rows, dim)."""
    return (unit_rows(features, centre) * features.shape[1] ** 0.5).astype(np.float32)
