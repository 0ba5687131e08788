"""Loss and gradient of one step, over processes and parts of a batch.

The global batch is cut into parts of equal size, in order: process r of R holds the parts
[r·A, (r+1)·A). Batch norm sees one part; the objective sees the projections of all of them, so
negatives do not depend on how the batch is cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from histoscope.core.objectives.contract import LossReport, Views
from histoscope.core.randomness import generator


class Stepper:
    """Computes the gradient of an objective's loss on a global batch.

    With several parts a process, projections are computed twice, the first time without gradient:
    the loss needs them all before any part can be differentiated (Gao et al. 2021, "Scaling Deep
    Contrastive Learning Batch Size under Memory Limited Setup", section 3).

    Args:
        fabric: launched; its processes share the work.
        objective: on the device, see :class:`histoscope.core.objectives.contract.Objective`.
        seed: of torch's generator, which the network's own randomness uses.
    """

    def __init__(self, fabric: Fabric, objective: Any, seed: int) -> None:
        self.objective = objective
        self._fabric = fabric
        self._network = fabric.setup(objective, move_to_device=False)
        self._seed = seed

    def gradient(self, parts: Sequence[Views], step: int) -> LossReport:
        """Add the mean gradient of the global batch to the parameters' ``grad``.

        Args:
            parts: this process's parts of the batch, all of one size.
            step: number of the step, which names its draws.

        Returns:
            The loss of the global batch, the same on every process.
        """
        self.objective.before_step(step)
        index = self._whole(torch.cat([part.index for part in parts]))
        if len(parts) == 1:
            own = self._project(parts[0], step, 0)
            report = self._loss(own, index, step)
            self._fabric.backward(report.loss * self._fabric.world_size)
            return report
        with torch.no_grad(), _frozen_statistics(self.objective):
            ahead = [self._project(part, step, place) for place, part in enumerate(parts)]
        own = [torch.cat(rows).requires_grad_() for rows in zip(*ahead, strict=True)]
        report = self._loss(own, index, step)
        report.loss.backward()  # type: ignore[no-untyped-call]
        for place, part in enumerate(parts):
            last = place == len(parts) - 1
            with self._fabric.no_backward_sync(self._network, enabled=not last):
                again = self._project(part, step, place)
                terms = [
                    (rows * _part_of(whole.grad, place, len(parts))).sum()
                    for rows, whole in zip(again, own, strict=True)
                    if whole.grad is not None and rows.requires_grad
                ]
                self._fabric.backward(torch.stack(terms).sum() * self._fabric.world_size)
        return report

    def after(self, step: int) -> None:
        """To be called after the optimiser's step: processes agree on batch norm's statistics."""
        self.objective.after_step(step)
        if self._fabric.world_size > 1:
            for statistic in _statistics(self.objective):
                agreed = self._fabric.all_reduce(statistic.clone(), reduce_op="mean")
                statistic.copy_(cast(Tensor, agreed))

    def _project(self, part: Views, step: int, place: int) -> Sequence[Tensor]:
        number = self._fabric.global_rank * 2**16 + place
        drawn = generator(self._seed, "torch", step, number).integers(2**63)
        torch.manual_seed(int(drawn))
        projections: Sequence[Tensor] = self._network(part.global_views, part.permutations)
        return projections

    def _loss(self, own: Sequence[Tensor], index: Tensor, step: int) -> LossReport:
        report: LossReport = self.objective.loss([self._whole(rows) for rows in own], index, step)
        return report

    def _whole(self, rows: Tensor) -> Tensor:
        """Rows of all processes, in order; only one's own carry a gradient."""
        if self._fabric.world_size == 1:
            return rows
        everyone = list(self._fabric.all_gather(rows.detach()))
        everyone[self._fabric.global_rank] = rows
        return torch.cat(everyone)


def _part_of(rows: Tensor, place: int, parts: int) -> Tensor:
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
