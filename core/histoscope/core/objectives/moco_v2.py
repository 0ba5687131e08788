"""MoCo v2: queries attract keys of a slow copy, keys of earlier batches repel."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from histoscope.core.config import Spec
from histoscope.core.encoders.contract import Encoder
from histoscope.core.losses.contrast import Similarities, against_queue
from histoscope.core.memory.queue import FeatureQueue, check_rows
from histoscope.core.objectives.contract import (
    Clock,
    Draw,
    Needs,
    Projected,
    Rows,
    Setting,
    Views,
)
from histoscope.core.objectives.contrastive import (
    KNOWN,
    MATCHED,
    PARTNERS,
    SUPPORT,
    Contrastive,
)
from histoscope.core.objectives.heads import plain_projector
from histoscope.core.objectives.spec import ContrastSpec, MethodSpec
from histoscope.core.optim.ema import move_towards

ORDERS = ("keys of view 0", "keys of view 1")


class MomentumSpec(Spec):
    """The slow copy of the network whose keys fill a queue."""

    rate: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="part of the slow copy kept each step; default by the run's length: "
        "1 - 10 / steps, at most 0.99",
    )
    rows: int = Field(1024, ge=1, description="keys in the queue, at most half of the samples")
    groups: int = Field(
        4, ge=1, description="batch norm sees this part of a batch, keys in another order"
    )
    symmetric: bool = Field(True, description="each view is query once and key once")


class MoCoV2Spec(ContrastSpec):
    """Settings of MoCo v2."""

    base: Literal["moco_v2"] = Field("moco_v2", description="the method")
    momentum: MomentumSpec = Field(MomentumSpec(), description="the slow copy and its keys")

    @classmethod
    def long_form(cls, given: Any) -> Any:
        """Older files may say ``negatives: queue``, which is no choice here."""
        if isinstance(given, Mapping) and given.get("negatives") == "queue":
            return {name: value for name, value in given.items() if name != "negatives"}
        return given


class MoCoV2(Contrastive):
    """He et al. 2020 (MoCo) with the head and views of Chen et al. 2020 (MoCo v2).

    The slow copy moves before the keys are computed: parameters by a moving average, batch norm's
    running statistics by its own forward passes. Batch norm sees a part of the batch at a time, and
    keys pass in a drawn order (the paper shuffles over processes), so that it cannot tell which key
    belongs to which query. With ``symmetric`` both directions use one snapshot of the queue. Keys
    are enqueued after the step, all at once.

    Args:
        encoder: images to features.
        spec: temperature, reduction, head, momentum.
        setting: how many samples there are.

    Raises:
        UsageError: the queue holds more than half of the samples, or less than a batch.
    """

    settings: ClassVar[type[MethodSpec]] = MoCoV2Spec

    def __init__(self, encoder: Encoder, spec: MoCoV2Spec, setting: Setting) -> None:
        super().__init__()
        held = spec.momentum.rows
        check_rows("objective.momentum.rows", held, setting.samples, setting.batch_size)
        self.encoder = encoder
        self.projector = self.head_of(spec, encoder.dim)
        network = nn.Sequential(cast(nn.Module, self.encoder), self.projector)
        self.slow = copy.deepcopy(network).requires_grad_(False)
        self.queue = FeatureQueue(held, spec.projector.out)
        self.spec, self.momentum = spec, spec.momentum
        orders = {name: Draw("permutation") for name in ORDERS}
        needs = Needs(draws=orders, least_part=2 * spec.momentum.groups)
        self.choose(needs, setting, negatives=held)
        self._pairs = [(0, 1), (1, 0)] if spec.momentum.symmetric else [(0, 1)]  # query, key

    @classmethod
    def head_of(cls, spec: MoCoV2Spec, dim: int) -> nn.Module:
        """Two layers, without batch norm."""
        return plain_projector(dim, spec.projector)

    def before_step(self, clock: Clock) -> None:
        """Slow copy <- rate · slow copy + (1 - rate) · network, parameters only."""
        fast = [*cast(nn.Module, self.encoder).parameters(), *self.projector.parameters()]
        rate = self.momentum.rate
        kept = max(0.0, min(0.99, 1 - 10 / clock.steps)) if rate is None else rate
        move_towards(self.slow.parameters(), fast, 1 - kept)

    def project(self, views: Views) -> Projected:
        """Queries of the views that ask, keys of the views that answer, at unit length."""
        images = views.families["global"]
        straight = torch.arange(len(images[0]), device=images[0].device)
        queries = [self._in_groups(self._fast, images[q], straight) for q, _ in self._pairs]
        with torch.no_grad():
            keys = [
                self._in_groups(self.slow, images[k], views.draws[ORDERS[k]].argsort())
                for _, k in self._pairs
            ]
            other = views.draws[ORDERS[1]].argsort()
            second = {name: views.families.get(name, ()) for name in (PARTNERS, SUPPORT)}
            if MATCHED in views.families:
                second[MATCHED] = [views.families[MATCHED][q] for q, _ in self._pairs]
            others = {
                name: torch.stack([self._in_groups(self.slow, v, other) for v in family], 1)
                for name, family in second.items()
                if family
            }
        answers = {f"keys {n}": normalize(rows, dim=1)[:, None] for n, rows in enumerate(keys)}
        if MATCHED in others:
            there = torch.stack([views.known[MATCHED][q] for q, _ in self._pairs], 1)
            answers[KNOWN] = there[..., None].to(queries[0].dtype)
        return Projected(
            {f"queries {n}": rows[:, None] for n, rows in enumerate(queries)},
            answers | {name: normalize(rows, dim=2) for name, rows in others.items()},
        )

    def network(self) -> nn.Sequential:
        """The slow copy."""
        return self.slow

    def seconds(self, projected: Projected) -> Tensor:
        """Keys of partners."""
        return projected.answers[PARTNERS]

    def said(self, projected: Projected) -> Tensor:
        """Keys."""
        return torch.stack(_keys_of(projected), 1)

    def compare(self, projected: Projected, rows: Rows) -> list[Similarities]:
        """Queries of each direction with their keys and the queue."""
        queries = [ask.squeeze(1) for ask in projected.asks.values()]
        memory = self.queue.features, self.queue.index
        return [
            against_queue(query, key, rows.index, *memory)
            for query, key in zip(queries, _keys_of(projected), strict=True)
        ]

    def after_step(self, projected: Projected, rows: Rows, clock: Clock) -> None:
        """Enqueue the keys of this step, of all processes."""
        super().after_step(projected, rows, clock)
        keys = _keys_of(projected)
        self.queue.put(torch.cat(keys), rows.index.repeat(len(keys)))

    def _fast(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.projector(self.encoder(images)))

    def _in_groups(self, network: object, images: Tensor, order: Tensor) -> Tensor:
        """Pass images through a network in ``order``, a group at a time; rows as they came."""
        assert callable(network)
        shuffled = images[order]
        parts = [network(part) for part in shuffled.tensor_split(self.momentum.groups)]
        out = torch.cat(parts)
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        return out[back]


def _keys_of(projected: Projected) -> list[Tensor]:
    return [
        answer.squeeze(1) for name, answer in projected.answers.items() if name.startswith("keys")
    ]
