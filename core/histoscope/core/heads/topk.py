"""Heads of a source that look at the few of its samples which show a class most."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from histoscope.core.contracts import Level, Task
from histoscope.core.heads.contract import Bags, Rows, Tensors, check_tensors
from histoscope.core.heads.linear import LinearHead

AT_ONCE = 4096  # samples whose features are in memory in double precision together


@dataclass(frozen=True)
class TopKHead:
    """Of each class the mean of the highest logits of samples; then softmax or sigmoids.

    After Courtiol et al. 2018 ("Classification and disease localization in histopathology using
    only global labels"), who score samples linearly and keep some; differs: the highest only, not
    the lowest, each class by itself, and their mean in place of a network. With one sample it is
    the rule of Campanella et al. 2019 ("Clinical-grade computational pathology using weakly
    supervised deep learning on whole slide images").

    Attributes:
        linear: of a sample, (dim,).
        share: part of a source's samples that are the highest, at least one of them. A part, not a
            number: the 20 highest of many are higher than of few, whatever the source.
    """

    linear: LinearHead
    share: float
    kind: ClassVar[str] = "topk"
    level: ClassVar[Level] = "source"

    @classmethod
    def of(cls, tensors: Tensors, task: Task, dim: int, thresholds: Rows | None) -> Self:
        """See :class:`Head`."""
        classes = len(task.classes)
        check_tensors(tensors, {"weight": (classes, dim), "bias": (classes,), "share": (1,)})
        share = float(tensors["share"][0])
        if tensors["share"].dtype != np.float32 or not 0 < share <= 1:
            raise ValueError(f"share {share:g} is no part of samples")
        linear = {name: tensors[name] for name in ("weight", "bias")}
        return cls(LinearHead.of(linear, task, dim, thresholds), share)

    @property
    def exclusive(self) -> bool:
        """Whether exactly one class holds."""
        return self.linear.exclusive

    @property
    def cut(self) -> Rows:
        """The thresholds, 0.5 where none were fitted."""
        return self.linear.cut

    def logits(self, bags: Bags) -> NDArray[np.float64]:
        """(bags, classes), before softmax or sigmoid."""
        logits = np.zeros((len(bags), len(self.linear.bias)))
        for place, (start, end) in enumerate(pairwise(bags.starts)):
            each = self._of_samples(bags.features[start:end])
            least = len(each) - count_of(len(each), self.share)
            logits[place] = np.partition(each, least, axis=0)[least:].mean(axis=0)
        return logits

    def probabilities(self, bags: Bags) -> Rows:
        """(bags, classes); exclusive: rows sum to 1."""
        return self.linear.scores(self.logits(bags))

    def attention(self, features: Rows) -> NDArray[np.float64] | None:
        """Weight of each sample of one source in its answer; they sum to 1, (rows,).

        None where several classes may be: each has samples of its own.
        """
        if not self.exclusive:
            return None
        best = int(self.logits(Bags.of_one(features)).argmax())
        each, weights = self._of_samples(features)[:, best], np.zeros(len(features))
        count = count_of(len(features), self.share)
        weights[np.argsort(-each, kind="stable")[:count]] = 1 / count
        return weights

    def answered(self, features: Rows) -> tuple[Rows, NDArray[np.float64] | None]:
        """Probabilities of one source, (1, classes), and :meth:`attention`."""
        return self.probabilities(Bags.of_one(features)), self.attention(features)

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Those of the linear head, and the share."""
        return {**self.linear.tensors(), "share": np.array([self.share], np.float32)}

    def _of_samples(self, features: Rows) -> NDArray[np.float64]:
        parts = range(0, len(features), AT_ONCE)
        return np.concatenate([self.linear.logits(features[at : at + AT_ONCE]) for at in parts])


def count_of(samples: int, share: float) -> int:
    """How many of a source's samples are the highest."""
    return max(1, round(share * samples))
