"""Two steps of small objectives in float64, for tests that compare gradients."""

from __future__ import annotations

from typing import Any

import timm
import torch
from lightning_fabric import Fabric
from torch import nn

from histoscope.core.objectives.contract import Views
from histoscope.core.objectives.moco_v2 import ORDERS, MoCoV2
from histoscope.core.objectives.simclr import SimCLR
from histoscope.core.objectives.spec import MomentumSpec, ObjectiveSpec, ProjectorSpec
from histoscope.core.training.step import Stepper

BATCH, SIDE = 16, 16
CASES = [(base, network) for base in ("simclr", "moco_v2") for network in ("plain", "resnet18")]
METHODS = {"simclr": SimCLR, "moco_v2": MoCoV2}


def objective(base: str, network: str) -> nn.Module:
    """A method on ResNet-18 with batch norm, or on a small network with group norm."""
    torch.manual_seed(3)
    spec = ObjectiveSpec(
        base=base,
        projector=ProjectorSpec(hidden=16, out=8),
        momentum=MomentumSpec(rows=12, rate=0.5, groups=1),
    )
    if network == "resnet18":
        encoder, dim = timm.create_model("resnet18", num_classes=0), 512
    else:
        encoder, dim = _plain(), 12
    made = METHODS[base](encoder, dim, spec)
    if network != "resnet18" and base == "simclr":
        made.projector = nn.Sequential(nn.Linear(dim, 16), nn.ReLU(), nn.Linear(16, 8))
    return made.double().train()


def _plain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, stride=2),
        nn.GroupNorm(3, 12),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def images(step: int, rank: int, ranks: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """A process's share of the global batch of a step: index and two views."""
    rng = torch.Generator().manual_seed(100 + step)
    index = torch.arange(BATCH) + BATCH * step
    views = [torch.rand(BATCH, 3, SIDE, SIDE, generator=rng).double() for _ in range(2)]
    size = BATCH // ranks
    mine = slice(rank * size, (rank + 1) * size)
    return index[mine], [view[mine] for view in views]


def parts(step: int, rank: int, ranks: int, accumulate: int) -> list[Views]:
    """The same, in parts; the orders of keys are straight, as batch norm sees one group."""
    index, views = images(step, rank, ranks)
    size = len(index) // accumulate
    straight = {name: torch.arange(size) for name in ORDERS}
    return [
        Views(index[a : a + size], [view[a : a + size] for view in views], straight)
        for a in range(0, len(index), size)
    ]


def trained(fabric: Fabric, base: str, network: str, accumulate: int) -> dict[str, Any]:
    """Two steps of plain gradient descent: loss, gradients and buffers of the last."""
    method = objective(base, network)
    stepper = Stepper(fabric, method, 0)
    rank, ranks = fabric.global_rank, fabric.world_size
    for step in range(2):
        method.zero_grad(set_to_none=True)
        report = stepper.gradient(parts(step, rank, ranks, accumulate), step)
        gradients = descend(method)
        stepper.after(step)
    buffers = {name: buffer.clone() for name, buffer in method.named_buffers()}
    return {"loss": report.loss.detach(), "gradients": gradients, "buffers": buffers}


def descend(method: nn.Module) -> dict[str, torch.Tensor]:
    """A step down the gradient; returns it."""
    gradients = {n: p.grad.clone() for n, p in method.named_parameters() if p.grad is not None}
    with torch.no_grad():
        for name, parameter in method.named_parameters():
            if name in gradients:
                parameter -= 0.1 * gradients[name]
    return gradients
