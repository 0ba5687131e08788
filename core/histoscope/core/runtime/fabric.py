"""Lightning Fabric for one process or several."""

from __future__ import annotations

import logging
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy

from histoscope.core.errors import UsageError
from histoscope.core.runtime.threads import ranks


def make_fabric(device: torch.device, precision: str) -> Fabric:
    """One process, or those that torchrun started; launched.

    Gradients are averaged over processes by DistributedDataParallel; buffers are left to the
    stepper. float64 is what the module and its images are made of: nothing casts here.

    Raises:
        UsageError: one GPU is named for several processes.
    """
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # what it tells, pretrain says
    world, local = ranks()
    kind: Any = "bf16-mixed" if precision == "bf16" else "32-true"
    if world == 1:
        devices: Any = [device.index or 0] if device.type == "cuda" else 1
        return Fabric(accelerator=device.type, devices=devices, precision=kind)
    if device.index is not None:
        raise UsageError(f"--device {device}: each process takes its own GPU; give cuda")
    backend = "nccl" if device.type == "cuda" else "gloo"
    strategy = DDPStrategy(process_group_backend=backend, broadcast_buffers=False)
    fabric = Fabric(
        accelerator=device.type,
        devices=local,
        num_nodes=world // local,
        strategy=strategy,
        precision=kind,
    )
    fabric.launch()
    return fabric
