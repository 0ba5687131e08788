"""Heads that are trained from labels of sources, some bags a step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from histoscope.core.contracts import Level, Task
from histoscope.core.heads.contract import Bags, Labels, Rows
from histoscope.core.learning.calibration import best_temperature, cooled
from histoscope.core.learning.contract import Draw, Fitted, Fitter
from histoscope.core.learning.folds import folds_of
from histoscope.core.learning.spec import BagStepsSpec
from histoscope.core.randomness import generator

_FLAT = 1e-6


class BagFitter(Fitter):
    """Trains on features as they are, and calibrates on sources of cases that were held out."""

    levels: ClassVar[Sequence[Level]] = ("source",)

    def learn(self, bags: Bags, labels: Labels, task: Task) -> Any:
        """One head, not calibrated: with ``logits`` of bags, and a ``linear`` head that makes them.

        Args:
            bags: of the sources.
            labels: class ids, (bags,), or 1, 0, -1 (unknown) for each class, (bags, classes).
            task: what is asked.
        """
        raise NotImplementedError

    def fit(self, draw: Draw) -> Fitted:
        """The head of a draw, calibrated where it has labels enough."""
        assert draw.bags is not None
        task, labels = draw.truth.task, draw.truth.values
        head = self.learn(draw.bags, labels, task)
        if not task.exclusive or draw.uncalibrated:
            return Fitted(head, {}, draw.uncalibrated)
        held_out = np.zeros((len(labels), len(task.classes)))
        for fit, held in folds_of(labels, draw.units).parts:
            other = self.learn(draw.bags.take(fit), labels[fit], task)
            held_out[held] = other.logits(draw.bags.take(held))
        temperature = best_temperature(held_out, labels)
        linear = cooled(head.linear, temperature)
        return Fitted(replace(head, linear=linear), {"temperature": temperature})


class Scaled(NamedTuple):
    """Standardised features, and the mean and deviation that they had, (dim,)."""

    bags: Bags
    centre: Rows
    spread: Rows


def standardised(bags: Bags) -> Scaled:
    """All samples count the same; what hardly varies is not divided."""
    rows = bags.features
    centre = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    spread = rows.std(axis=0, dtype=np.float64).astype(np.float32)
    spread = np.where(spread > _FLAT, spread, 1).astype(np.float32)
    return Scaled(Bags(((rows - centre) / spread).astype(np.float32), bags.starts), centre, spread)


def train(
    weights: Iterable[Tensor],
    logits_of: Callable[[Tensor], Tensor],
    bags: Bags,
    labels: Labels,
    told: BagStepsSpec,
    seed: int,
) -> None:
    """Train weights: some sources a step, those of each class as often; AdamW, cosine to 0.

    Args:
        weights: that move.
        logits_of: of the rows of one bag, (rows, dim), its logits, (1, classes).
        bags: features, standardised.
        labels: see :meth:`BagFitter.learn`.
        told: steps, sources, samples and rates.
        seed: of the order and of the samples.
    """
    optimiser = torch.optim.AdamW(weights, lr=told.learning_rate, weight_decay=told.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, told.steps)
    truth = torch.from_numpy(labels)
    order = order_of(labels, told.steps * told.sources, seed).reshape(told.steps, told.sources)
    for step, places in enumerate(order):
        logits = []
        for number, place in enumerate(places.tolist(), step * told.sources):
            rows = some_rows(bags, place, told, seed, number)
            logits.append(logits_of(torch.from_numpy(rows)))
        loss = loss_of(torch.cat(logits), truth[torch.from_numpy(places)])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()


def order_of(labels: Labels, count: int, seed: int) -> NDArray[np.int64]:
    """Which bags are taken one by one: of a class all in turn, each class as often, (count,)."""
    kinds = labels if labels.ndim == 1 else np.zeros(len(labels), np.int64)
    draw, names = generator(seed, "attention/order"), np.unique(kinds)
    rounds = -(-count // len(names))
    queues = []
    for name in names:
        members = np.flatnonzero(kinds == name)
        passes = -(-rounds // len(members))
        queues.append(np.concatenate([draw.permutation(members) for _ in range(passes)])[:rounds])
    return np.stack(queues, axis=1).reshape(-1)[:count].astype(np.int64)


def some_rows(bags: Bags, place: int, told: BagStepsSpec, seed: int, number: int) -> Rows:
    """Rows of one bag, a part of them and at most so many, drawn anew each time."""
    rows = bags.features[bags.starts[place] : bags.starts[place + 1]]
    count = min(told.samples, max(1, round(told.part * len(rows))))
    if count == len(rows):
        return rows
    return rows[generator(seed, "attention/rows", number).choice(len(rows), count, replace=False)]


def loss_of(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy of some bags; of several classes over those that are known."""
    if truth.ndim == 1:
        return cross_entropy(logits, truth)
    known = (truth >= 0).float()
    each = binary_cross_entropy_with_logits(logits, truth.clamp(min=0).float(), reduction="none")
    return (each * known).sum() / known.sum().clamp(min=1)
