"""Heads of a source and of its samples in order, and their methods, from outside the package.

A source is scored by that sample of it which a linear head of samples finds most like each class; a
sample by the mean of what such a head says of it and of all before it.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
from pydantic import Field

from histoscope.core.heads.contract import Bags
from histoscope.core.heads.linear import LinearHead
from histoscope.core.learning.contract import Fitted, Fitter
from histoscope.core.learning.probe import Probe
from histoscope.core.learning.spec import FinetuneSpec


@dataclass(frozen=True)
class MostHead:
    linear: LinearHead
    kind: ClassVar = "most"
    level: ClassVar = "source"

    @classmethod
    def of(cls, tensors, task, dim, thresholds):
        return cls(LinearHead.of(tensors, task, dim, thresholds))

    @property
    def exclusive(self):
        return self.linear.exclusive

    @property
    def cut(self):
        return self.linear.cut

    def probabilities(self, bags):
        scores = self.linear.probabilities(Bags.of_samples(bags.features))
        if not len(bags):
            return scores[:0]
        most = np.maximum.reduceat(scores, bags.starts[:-1], axis=0)
        return most / most.sum(axis=1, keepdims=True) if self.exclusive else most

    def tensors(self):
        return self.linear.tensors()


class MostSpec(FinetuneSpec):
    method: str = "most"
    penalty: float = Field(1.0, gt=0)


class MostFitter(Fitter):
    settings = MostSpec
    levels = ("source",)
    several = False

    def fit(self, draw):
        sizes = np.diff(draw.bags.starts)
        labels = np.repeat(draw.truth.values, sizes)  # each sample has its source's label
        classes = len(draw.truth.task.classes)
        head, _ = Probe(1 / self.spec.penalty).fit(draw.bags.features, labels, classes)
        return Fitted(MostHead(head), {"penalty": self.spec.penalty}, "not fitted")


@dataclass(frozen=True)
class PastHead:
    linear: LinearHead
    kind: ClassVar = "past"
    level: ClassVar = "sample"
    ordered: ClassVar = True

    @classmethod
    def of(cls, tensors, task, dim, thresholds):
        return cls(LinearHead.of(tensors, task, dim, thresholds))

    @property
    def exclusive(self):
        return self.linear.exclusive

    @property
    def cut(self):
        return self.linear.cut

    def probabilities(self, bags):
        scores = self.linear.probabilities(Bags.of_samples(bags.features))
        for start, end in pairwise(bags.starts):
            count = np.arange(1, end - start + 1, dtype=np.float32)[:, None]
            scores[start:end] = scores[start:end].cumsum(axis=0) / count
        return scores

    def tensors(self):
        return self.linear.tensors()


class PastSpec(FinetuneSpec):
    method: str = "past"


class PastFitter(Fitter):
    settings = PastSpec
    ordered = True

    def fit(self, draw):
        known, classes = draw.truth.known, len(draw.truth.task.classes)
        head, _ = Probe(1.0).fit(draw.bags.features[known], draw.truth.values[known], classes)
        sizes = np.diff(draw.bags.starts).tolist()
        told = {"bags": len(sizes), "rows": sum(sizes), "labels": int(known.sum())}
        return Fitted(PastHead(head), told, "not fitted")
