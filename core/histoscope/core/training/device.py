"""Which device, how many threads and processes; what is chosen is said."""

from __future__ import annotations

import os
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy

from histoscope.core.errors import UsageError
from histoscope.core.progress import Progress


def choose_device(word: str) -> torch.device:
    """``auto`` takes a CUDA device where torch can use one, else the CPU.

    Raises:
        UsageError: neither a CPU nor a CUDA device, or one that cannot be used; nothing falls to
            the CPU.
    """
    if word == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if word.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"--device {word}: torch finds no usable GPU; see 'histoscope doctor'")
    try:
        device = torch.device(word)
    except RuntimeError:
        device = None
    if device is None or device.type not in {"cpu", "cuda"}:
        raise UsageError(f"--device {word}: unknown; give auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"--device {word}: torch finds {torch.cuda.device_count()} GPU, counted from cuda:0"
        )
    return device


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ranks() -> tuple[int, int]:
    """Processes that share this training, in all and on this machine, as torchrun says."""
    return int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def is_main() -> bool:
    """Whether this is the process that writes and speaks."""
    return int(os.environ.get("RANK", 0)) == 0


def choose_workers(asked: int | None) -> int:
    """Half the cores, at most 8; none on up to 4 cores; shared by the processes of the machine.

    There a second process costs more time than it saves: 1.45 s a step without, 2.4 s with one
    worker (ResNet-18, 64 px, batch 128, 2 cores).
    """
    if asked is not None:
        return asked
    return min(8, cores() // 2) // ranks()[1] if cores() > 4 else 0


def choose_threads(asked: int | None) -> int:
    """All cores but those of the workers by default, whatever workers are asked for.

    The number of threads decides the last bits of a sum, the number of workers must not.
    """
    return asked or max(1, cores() // ranks()[1] - choose_workers(None))


def warn_of_crowding(threads: int, workers: int, progress: Progress) -> None:
    """Say so when threads and workers exceed the cores."""
    if (threads + workers) * ranks()[1] > cores():
        progress.say(
            f"{threads} threads and {workers} workers on {cores()} cores: expect it to be slow"
        )


def make_fabric(device: torch.device, precision: str) -> Fabric:
    """One process, or those that torchrun started; launched.

    Gradients are averaged over processes by DistributedDataParallel; buffers are left to the
    stepper.

    Raises:
        UsageError: one GPU is named for several processes.
    """
    world, local = ranks()
    kind: Any = {"float32": "32-true", "bf16": "bf16-mixed"}[precision]
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
