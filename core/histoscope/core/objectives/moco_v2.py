"""MoCo v2: queries attract keys of a slow copy, keys of earlier batches repel."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from histoscope.core.losses.contrast import against_queue, decoupled, infonce
from histoscope.core.memory.queue import FeatureQueue
from histoscope.core.objectives.contract import LossReport, ViewNeeds
from histoscope.core.objectives.heads import plain_projector
from histoscope.core.objectives.spec import ObjectiveSpec

ORDERS = ("keys of view 0", "keys of view 1")


class MoCoV2(nn.Module):
    """He et al. 2020 (MoCo) with the head and views of Chen et al. 2020 (MoCo v2).

    The slow copy moves before the keys are computed: parameters by a moving average, batch norm's
    running statistics by its own forward passes. Batch norm sees a part of the batch at a time, and
    keys pass in a drawn order (the paper shuffles over processes), so that it cannot tell which key
    belongs to which query. With ``symmetric`` both directions use one snapshot of the queue. Keys
    are put aside by ``loss`` and enqueued in ``after_step``, all at once.

    Args:
        encoder: images to features.
        dim: width of the features.
        spec: temperature, reduction, head, momentum.
    """

    def __init__(self, encoder: nn.Module, dim: int, spec: ObjectiveSpec) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = plain_projector(dim, spec.projector)
        self.slow = copy.deepcopy(nn.Sequential(self.encoder, self.projector))
        self.slow.requires_grad_(False)
        self.queue = FeatureQueue(spec.momentum.rows, spec.projector.out)
        self.spec = spec
        self.needs = ViewNeeds(
            permutations=ORDERS,
            memory_rows=spec.momentum.rows,
            least_part=2 * spec.momentum.groups,
        )
        self._pairs = [(0, 1), (1, 0)] if spec.momentum.symmetric else [(0, 1)]  # query, key
        self._aside: tuple[Tensor, Tensor] | None = None

    @torch.no_grad()
    def before_step(self, step: int) -> None:
        """Slow copy <- rate · slow copy + (1 - rate) · network, parameters only."""
        fast = [*self.encoder.parameters(), *self.projector.parameters()]
        for slow, now in zip(self.slow.parameters(), fast, strict=True):
            slow.lerp_(now.detach(), 1 - self.spec.momentum.rate)

    def forward(
        self, global_views: Sequence[Tensor], permutations: Mapping[str, Tensor]
    ) -> list[Tensor]:
        """Queries of the views that ask, then keys of the views that answer."""
        straight = torch.arange(len(global_views[0]), device=global_views[0].device)
        queries = [self._in_groups(self._fast, global_views[q], straight) for q, _ in self._pairs]
        with torch.no_grad():
            keys = [
                normalize(
                    self._in_groups(self.slow, global_views[k], permutations[ORDERS[k]]), dim=1
                )
                for _, k in self._pairs
            ]
        return [*queries, *keys]

    def loss(self, projections: Sequence[Tensor], index: Tensor, step: int) -> LossReport:
        """Mean over queries (of both directions) of the contrast with the queue."""
        queries = projections[: len(self._pairs)]
        keys = [key.detach() for key in projections[len(self._pairs) :]]
        reduce = infonce if self.spec.reduction == "infonce" else decoupled
        terms, attraction = [], []
        for query, key in zip(queries, keys, strict=True):
            sim = against_queue(query, key, index, self.queue.features, self.queue.index)
            if self.queue.filled.any():
                terms.append(reduce(sim, self.spec.temperature.value).mean())
            else:  # the first step has no negatives: nothing to learn, keys are enqueued
                terms.append(0 * sim.logits[:, 0].mean())
            attraction.append(sim.logits[:, 0].mean().item())
        self._aside = (torch.cat(keys), index.repeat(len(keys)))
        loss = torch.stack(terms).mean()
        return LossReport(loss, {"positive_cosine": sum(attraction) / len(attraction)})

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Enqueue the keys of this step, of all processes."""
        if self._aside is not None:
            self.queue.put(*self._aside)
            self._aside = None

    def _fast(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.projector(self.encoder(images)))

    def _in_groups(self, network: object, images: Tensor, order: Tensor) -> Tensor:
        """Pass images through a network in ``order``, a group at a time; rows as they came."""
        assert callable(network)
        shuffled = images[order]
        parts = [network(part) for part in shuffled.tensor_split(self.spec.momentum.groups)]
        out = torch.cat(parts)
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        return out[back]
