"""Attention over the samples of a source, from few labels of sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from histoscope.core.contracts import Level, Task
from histoscope.core.heads.attention import AttentionHead
from histoscope.core.heads.contract import Bags, Labels, Rows
from histoscope.core.heads.linear import LinearHead
from histoscope.core.learning.calibration import best_temperature
from histoscope.core.learning.contract import Draw, Fitted, Fitter
from histoscope.core.learning.folds import folds_of
from histoscope.core.learning.spec import AttentionSpec, FinetuneSpec
from histoscope.core.randomness import generator

_FLAT = 1e-6


class AttentionFitter(Fitter):
    """MONAI's ``MILModel`` with attention, on features as they are.

    One source a step, those of each class as often; AdamW, its rate on a cosine to 0, as
    published slide heads on pathology encoders (Chen et al. 2024, "UNI", methods); differs: rate,
    steps and decay, see :class:`~histoscope.core.learning.spec.AttentionStepsSpec`.
    """

    settings: ClassVar[type[FinetuneSpec]] = AttentionSpec
    levels: ClassVar[Sequence[Level]] = ("source",)

    def fit(self, draw: Draw) -> Fitted:
        """The head of a draw, calibrated where it has labels enough."""
        assert draw.bags is not None
        task, labels = draw.truth.task, draw.truth.values
        head = self._head(draw.bags, labels, task)
        if not task.exclusive or draw.uncalibrated:
            return Fitted(head, {}, draw.uncalibrated)
        held_out = np.zeros((len(labels), len(task.classes)))
        for fit, held in folds_of(labels, draw.units).parts:
            other = self._head(draw.bags.take(fit), labels[fit], task)
            held_out[held] = other.linear.logits(other.means(draw.bags.take(held)))
        temperature = best_temperature(held_out, labels)
        linear = replace(
            head.linear,
            weight=(head.linear.weight / temperature).astype(np.float32),
            bias=(head.linear.bias / temperature).astype(np.float32),
        )
        return Fitted(replace(head, linear=linear), {"temperature": temperature})

    def _head(self, bags: Bags, labels: Labels, task: Task) -> AttentionHead:
        """Train one head."""
        rows = bags.features
        centre = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        spread = rows.std(axis=0, dtype=np.float64).astype(np.float32)
        spread = np.where(spread > _FLAT, spread, 1).astype(np.float32)
        scaled = Bags(((rows - centre) / spread).astype(np.float32), bags.starts)
        model = trained(scaled, labels, len(task.classes), self.spec)
        weights = {name: one.detach().numpy() for name, one in model.named_parameters()}
        return AttentionHead(
            LinearHead(weights["myfc.weight"], weights["myfc.bias"], task.exclusive),
            weights["attention.0.weight"],
            weights["attention.0.bias"],
            weights["attention.2.weight"][0],
            centre,
            spread,
        )


def trained(bags: Bags, labels: Labels, classes: int, spec: AttentionSpec) -> nn.Module:
    """MONAI's model after its steps.

    Args:
        bags: features, standardised.
        labels: class ids, (bags,), or 1, 0, -1 (unknown) for each class, (bags, classes).
        classes: how many there are.
        spec: seed and steps.
    """
    told = spec.attention
    model = new_model(bags.features.shape[1], classes, spec.seed)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=told.learning_rate, weight_decay=told.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, told.steps)
    truth = torch.from_numpy(labels)
    for step, place in enumerate(order_of(labels, told.steps, spec.seed)):
        rows = some_rows(bags, place, told.samples, spec.seed, step)
        logits = model.calc_head(torch.from_numpy(rows)[None])
        loss = loss_of(logits, truth[place : place + 1])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return model


def new_model(dim: int, classes: int, seed: int) -> Any:
    """MONAI's model on features: without a network before it."""
    from monai.networks.nets.milmodel import MILModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MILModel(
            num_classes=classes,
            mil_mode="att",
            pretrained=False,
            backbone=nn.Identity(),
            backbone_num_features=dim,
        )


def order_of(labels: Labels, steps: int, seed: int) -> NDArray[np.int64]:
    """Which bag each step takes: all of a class in turn, each class as often, (steps,)."""
    kinds = labels if labels.ndim == 1 else np.zeros(len(labels), np.int64)
    draw, names = generator(seed, "attention/order"), np.unique(kinds)
    rounds = -(-steps // len(names))
    queues = []
    for name in names:
        members = np.flatnonzero(kinds == name)
        passes = -(-rounds // len(members))
        queues.append(np.concatenate([draw.permutation(members) for _ in range(passes)])[:rounds])
    return np.stack(queues, axis=1).reshape(-1)[:steps].astype(np.int64)


def some_rows(bags: Bags, place: int, most: int, seed: int, step: int) -> Rows:
    """Rows of one bag, at most so many, drawn anew at each step."""
    rows = bags.features[bags.starts[place] : bags.starts[place + 1]]
    if len(rows) <= most:
        return rows
    return rows[generator(seed, "attention/rows", step).choice(len(rows), most, replace=False)]


def loss_of(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy of one bag; of several classes over those that are known."""
    if truth.ndim == 1:
        return cross_entropy(logits, truth)
    known = (truth >= 0).float()
    each = binary_cross_entropy_with_logits(logits, truth.clamp(min=0).float(), reduction="none")
    return (each * known).sum() / known.sum().clamp(min=1)
