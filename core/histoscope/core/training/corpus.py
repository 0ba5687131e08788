"""The data set of a run as its objective may see it once an epoch."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from histoscope.core.data.loader import ViewDataset
from histoscope.core.inference.runner import Runner


class StoreCorpus:
    """Images of a store, each as it is; the processes of a run share the work.

    Args:
        dataset: which images, in order.
        fabric: the processes.
    """

    def __init__(self, dataset: ViewDataset, fabric: Fabric) -> None:
        self._dataset, self._fabric = dataset, fabric

    def encode(self, module: nn.Module) -> Tensor:
        """See :class:`histoscope.core.objectives.contract.Corpus`."""
        trains, rows = module.training, self._dataset.rows
        ranks, rank = self._fabric.world_size, self._fabric.global_rank
        size = -(-len(rows) // ranks)
        mine = rows[np.minimum(np.arange(rank * size, (rank + 1) * size), len(rows) - 1)]
        images = (self._dataset.reader.image(int(row)) for row in mine)
        own = Runner(_Cast(module.eval()), self._fabric.device).features(images)
        module.train(trains)
        features = torch.from_numpy(own).to(self._fabric.device)
        if ranks > 1:
            features = cast(Tensor, self._fabric.all_gather(features)).flatten(0, 1)
        return features[: len(rows)]


class _Cast(nn.Module):
    """A network that takes images in whatever precision its weights have."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        weight = next(self.network.parameters(), images)
        out: Tensor = self.network(images.to(weight.dtype))
        return out
