"""Loss and gradient of one step, over processes and parts of a batch.

The global batch is cut into parts of equal size, in order: process r of R holds the parts
[r·A, (r+1)·A). Batch norm sees one part; the objective sees the projections of all of them, so
negatives do not depend on how the batch is cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from histoscope.core.objectives.contract import (
    Clock,
    LossReport,
    Objective,
    Projected,
    Rows,
    Uncast,
    Views,
)
from histoscope.core.randomness import generator


@dataclass(frozen=True)
class Batch:
    """A process's share of the global batch.

    Attributes:
        rows: which they are.
        parts: of its images, all of one size.
        draws: the step's numbers, of the global batch.
        shown: what is worth writing down of its images, by name, (images of this process,).
    """

    rows: Rows
    parts: Sequence[Views]
    draws: Mapping[str, Tensor]
    shown: Mapping[str, Tensor] = field(default_factory=dict)


class Stepper:
    """Computes the gradient of an objective's loss on a global batch.

    With several parts a process, projections are computed twice, the first time without gradient:
    the loss needs them all before any part can be differentiated (Gao et al. 2021, "Scaling Deep
    Contrastive Learning Batch Size under Memory Limited Setup", section 3).

    Args:
        fabric: launched; its processes share the work.
        objective: on the device.
        seed: of torch's generator, which the network's own randomness uses.
    """

    def __init__(self, fabric: Fabric, objective: Objective, seed: int) -> None:
        self.objective = objective
        self._fabric = fabric
        self._network = fabric.setup(objective, move_to_device=False)
        self._seed = seed
        self._last: tuple[Projected, Rows] | None = None
        self.projections: Tensor | None = None

    def gradient(self, batch: Batch, clock: Clock) -> LossReport:
        """Add the mean gradient of the global batch to the parameters' ``grad``.

        Returns:
            The loss of the global batch, the same on every process.
        """
        with torch.no_grad():
            self.objective.before_step(clock)
        told = batch.rows
        rows = Rows(*map(self._whole, (told.index, told.partners, told.donors)))
        parts, world = batch.parts, self._fabric.world_size
        if len(parts) == 1:
            own = self._project(parts[0], clock, 0, 1)
            report = self._loss(own, rows, batch, clock)
            self._fabric.backward(report.loss * world)
            return report
        with torch.no_grad(), _frozen_statistics(self.objective):
            ahead = [self._project(part, clock, n, len(parts)) for n, part in enumerate(parts)]
        asks = {name: torch.cat([one.asks[name] for one in ahead]) for name in ahead[0].asks}
        answers = {
            name: torch.cat([one.answers[name] for one in ahead]) for name in ahead[0].answers
        }
        own = Projected({name: ask.requires_grad_() for name, ask in asks.items()}, answers)
        report = self._loss(own, rows, batch, clock)
        report.loss.backward()  # type: ignore[no-untyped-call]
        for place, part in enumerate(parts):
            last = place == len(parts) - 1
            with self._fabric.no_backward_sync(self._network, enabled=not last):
                again = self._project(part, clock, place, len(parts))
                terms = [
                    (ask * _part_of(own.asks[name].grad, place, len(parts))).sum()
                    for name, ask in again.asks.items()
                    if own.asks[name].grad is not None
                ]
                self._fabric.backward(torch.stack(terms).sum() * world)
        return report

    @torch.no_grad()
    def after(self, clock: Clock) -> None:
        """To be called after the optimiser's step: processes agree on batch norm's statistics."""
        assert self._last is not None
        self.objective.after_step(*self._last, clock)
        self.projections = next(iter(self._last[0].asks.values()))[:, 0]
        self._last = None
        if self._fabric.world_size > 1:
            for statistic in _statistics(self.objective):
                agreed = self._fabric.all_reduce(statistic.clone(), reduce_op="mean")
                statistic.copy_(cast(Tensor, agreed))

    def _project(self, part: Views, clock: Clock, place: int, parts: int) -> Projected:
        number = self._fabric.global_rank * parts + place  # of this part in the global batch
        drawn = generator(self._seed, "torch", clock.step, number).integers(2**63)
        torch.manual_seed(int(drawn))
        return Projected(**self._network(part.families, Uncast(part)))

    def _loss(self, own: Projected, rows: Rows, batch: Batch, clock: Clock) -> LossReport:
        whole = Projected(
            {name: self._whole(ask) for name, ask in own.asks.items()},
            {name: self._whole(answer) for name, answer in own.answers.items()},
        )
        kept = {name: ask.detach() for name, ask in whole.asks.items()}
        self._last = Projected(kept, whole.answers), rows
        report = self.objective.loss(whole, rows, batch.draws, clock)
        told = {name: self._whole(numbers) for name, numbers in batch.shown.items()}
        return LossReport(report.terms, {**report.shown, **told})

    def _whole(self, rows: Tensor) -> Tensor:
        """Rows of all processes, in order; only one's own carry a gradient."""
        if self._fabric.world_size == 1:
            return rows
        everyone = list(self._fabric.all_gather(rows.detach()))
        everyone[self._fabric.global_rank] = rows
        return torch.cat(everyone)


def _part_of(rows: Tensor | None, place: int, parts: int) -> Tensor:
    assert rows is not None
    size = len(rows) // parts
    return rows[place * size : (place + 1) * size]


def _statistics(module: nn.Module) -> Iterator[Tensor]:
    for norm in module.modules():
        if isinstance(norm, _BatchNorm) and norm.running_mean is not None:
            assert norm.running_var is not None
            yield norm.running_mean
            yield norm.running_var


@contextmanager
def _frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Batch norm uses the batch's statistics, and does not keep them."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
