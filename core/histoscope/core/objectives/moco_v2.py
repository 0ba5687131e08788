"""MoCo v2: queries attract keys of a slow copy, keys of earlier batches repel."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from histoscope.core.config import Spec
from histoscope.core.encoders.contract import Encoder
from histoscope.core.losses.contrast import Similarities, against_queue
from histoscope.core.losses.regression import unit
from histoscope.core.memory.queue import FeatureQueue, check_rows
from histoscope.core.objectives.choices import NearestFeatures
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
BENEATH, KEPT_BENEATH = "beneath queries", "beneath keys"  # features of both, without their heads


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
    local: int = Field(0, ge=0, description="small crops beside the two, views of the family local")

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

    Small crops ask beside, as in Van Gansbeke et al. 2021: each the key of the first view, in which
    they lie where the views' ``overlap`` says so. With them a single direction is that from the
    second view to the first, so that this key is there.

    Args:
        encoder: images to features.
        spec: temperature, reduction, head, momentum, small crops.
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
        self._beneath = isinstance(spec.positives, NearestFeatures)
        width = encoder.dim if self._beneath else None
        self.queue = FeatureQueue(held, spec.projector.out, width)
        self.spec, self.momentum, self._small = spec, spec.momentum, spec.local
        families = {"global": 2} | ({"local": spec.local} if spec.local else {})
        orders = {name: Draw("permutation") for name in ORDERS}
        needs = Needs(families=families, draws=orders, least_part=2 * spec.momentum.groups)
        self.choose(needs, setting, negatives=held)
        single = [(1, 0)] if spec.local else [(0, 1)]  # query, key
        self._pairs = [(0, 1), (1, 0)] if spec.momentum.symmetric else single
        self.asking = [query for query, _ in self._pairs]

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
        large, small = [images[q] for q in self.asking], views.families.get("local", ())
        asked = [self._in_groups(self._fast, view, straight) for view in (*large, *small)]
        with torch.no_grad():
            said = [
                self._in_groups(self._slowly, images[k], views.draws[ORDERS[k]].argsort())
                for _, k in self._pairs
            ]
            other = views.draws[ORDERS[1]].argsort()
            second = {name: views.families.get(name, ()) for name in (PARTNERS, SUPPORT)}
            if MATCHED in views.families:
                second[MATCHED] = [views.families[MATCHED][q] for q in self.asking]
            others = {
                name: torch.stack([self._in_groups(self._slowly, v, other)[0] for v in family], 1)
                for name, family in second.items()
                if family
            }
        answers = {f"keys {n}": normalize(rows, dim=1)[:, None] for n, (rows, _) in enumerate(said)}
        if MATCHED in others:
            there = torch.stack([views.known[MATCHED][q] for q in self.asking], 1)
            answers[KNOWN] = there[..., None].to(asked[0][0].dtype)
        if self._beneath:
            for name, passed in ((BENEATH, asked), (KEPT_BENEATH, said)):
                answers[name] = torch.stack([unit(features) for _, features in passed], 1)
        return Projected(
            {f"queries {n}": rows[:, None] for n, (rows, _) in enumerate(asked)},
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

    def beneath(self, projected: Projected) -> list[Tensor]:
        """Of all that asks with the queue, before the heads."""
        assert self.queue.beneath is not None
        asked = projected.answers[BENEATH]
        return [rows @ self.queue.beneath.to(rows.dtype).T for rows in asked.unbind(1)]

    def compare(self, projected: Projected, rows: Rows) -> list[Similarities]:
        """Queries of each direction, then small crops, with their keys and the queue."""
        queries = [ask.squeeze(1) for ask in projected.asks.values()]
        memory = self.queue.features, self.queue.index
        keys = _keys_of(projected)
        keys += [keys[-1]] * self._small  # of the first view
        return [
            against_queue(query, key, rows.index, *memory)
            for query, key in zip(queries, keys, strict=True)
        ]

    def after_step(self, projected: Projected, rows: Rows, clock: Clock) -> None:
        """Enqueue the keys of this step, of all processes."""
        super().after_step(projected, rows, clock)
        keys, beneath = _keys_of(projected), projected.answers.get(KEPT_BENEATH)
        below = None if beneath is None else torch.cat(beneath.unbind(1))
        self.queue.put(torch.cat(keys), rows.index.repeat(len(keys)), below)

    def _fast(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.encoder(images)
        return self.projector(features), features.detach()

    def _slowly(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.slow[0](images)
        return self.slow[1](features), features

    def _in_groups(
        self, passes: Callable[[Tensor], Sequence[Tensor]], images: Tensor, order: Tensor
    ) -> list[Tensor]:
        """Pass images in ``order``, a group at a time: what the head says of them, and beneath it.

        Rows are as they came.
        """
        parts = [passes(part) for part in images[order].tensor_split(self.momentum.groups)]
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        return [torch.cat(rows)[back] for rows in zip(*parts, strict=True)]


def _keys_of(projected: Projected) -> list[Tensor]:
    return [
        answer.squeeze(1) for name, answer in projected.answers.items() if name.startswith("keys")
    ]
