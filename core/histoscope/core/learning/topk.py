"""The samples of a source that show a class most, from few labels of sources."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from histoscope.core.contracts import Task
from histoscope.core.heads.contract import Bags, Labels
from histoscope.core.heads.linear import LinearHead
from histoscope.core.heads.topk import TopKHead, count_of
from histoscope.core.learning.bags import BagFitter, standardised, train
from histoscope.core.learning.spec import FinetuneSpec, TopKSpec


class TopKFitter(BagFitter):
    """See :class:`~histoscope.core.heads.topk.TopKHead`; trained as attention is."""

    settings: ClassVar[type[FinetuneSpec]] = TopKSpec

    def learn(self, bags: Bags, labels: Labels, task: Task) -> TopKHead:
        """See :meth:`BagFitter.learn`."""
        scaled, centre, spread = standardised(bags)
        told, seed = self.spec.topk, self.spec.seed
        share = float(np.float32(told.share))  # as a package keeps it
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = nn.Linear(scaled.features.shape[1], len(task.classes))
        train(
            model.parameters(),
            lambda rows: highest(model(rows), share),
            scaled,
            labels,
            told,
            seed,
        )
        weight = model.weight.detach().double().numpy() / spread
        bias = model.bias.detach().double().numpy() - weight @ centre
        linear = LinearHead(weight.astype(np.float32), bias.astype(np.float32), task.exclusive)
        return TopKHead(linear, share)


def highest(logits: Tensor, share: float) -> Tensor:
    """The mean of each class's highest logits, (rows, classes) to (1, classes)."""
    count = count_of(len(logits), share)
    return logits.topk(count, dim=0).values.mean(dim=0, keepdim=True)
