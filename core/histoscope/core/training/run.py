"""A run of pretraining: the network on its device, with the state of the last checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import nn
from torch.optim import Optimizer

from histoscope.core.data.order import Positions
from histoscope.core.encoders.folder import LoadedEncoder
from histoscope.core.errors import UsageError
from histoscope.core.objectives.contract import Objective, Setting
from histoscope.core.objectives.mixed import make_objective
from histoscope.core.optim.groups import make_optimiser
from histoscope.core.runtime.device import choose_device
from histoscope.core.runtime.fabric import make_fabric
from histoscope.core.runtime.threads import choose_threads, ranks
from histoscope.core.training.checkpoint import (
    load_checkpoint,
    naming_older,
    threads_of,
)
from histoscope.core.training.spec import PretrainSpec, TrainingSpec
from histoscope.core.training.step import Stepper
from histoscope.core.views.plan import GLOBAL, ViewPlan


@dataclass
class Run:
    """What the loop works on.

    Attributes:
        spec: with the true settings of the network.
        folder: of the run.
        plans: of the views, by their family.
        objective, optimiser, fabric, stepper: on the device.
        seen: digests of units that the first weights, or a teacher's, have seen.
        init: what training began from, for messages.
        about: what a checkpoint says beside its step.
        done: steps done.
    """

    spec: PretrainSpec
    folder: Path
    plans: dict[str, ViewPlan]
    objective: Objective
    optimiser: Optimizer
    fabric: Fabric
    stepper: Stepper
    seen: frozenset[str]
    init: str
    about: dict[str, Any]
    done: int

    @property
    def main(self) -> bool:
        """Whether this is the process that writes."""
        return self.fabric.global_rank == 0

    @property
    def part_size(self) -> int:
        """Images that pass the network at once."""
        return self.spec.training.batch_size // int(self.about["batch_parts"])


@dataclass(frozen=True)
class Data:
    """What is trained on.

    Attributes:
        digest: of it.
        table: ``source`` and ``case`` by dataset index.
        relations: gives which of it lies near what.
        order: gives where each sample lies in its source.
        positions: its order.
    """

    digest: str
    table: pa.Table
    relations: Callable[[], pa.Table]
    order: Callable[[], NDArray[np.float64]]
    positions: Positions


@dataclass(frozen=True)
class First:
    """What training starts from.

    Attributes:
        encoder: the network, in training mode.
        seen: digests of units that its weights have seen.
        init: where the weights are from, for messages.
    """

    encoder: Any
    seen: frozenset[str]
    init: str


@dataclass(frozen=True)
class Model:
    """What answers classes of images.

    Attributes:
        module: see :class:`histoscope.core.inference.answering.Answering`.
        seen: digests of units that it has seen.
    """

    module: nn.Module
    seen: frozenset[str]


def start_run(
    spec: PretrainSpec,
    out: Path,
    checkpoints: Sequence[Path],
    plans: dict[str, ViewPlan],
    data: Data,
    first: Callable[[], First],
    teacher: Callable[[str], LoadedEncoder],
    model: Callable[[str, str | None], Model],
) -> Run:
    """Build the network, and load the last checkpoint if there is one.

    Args:
        spec: as asked.
        out: the run's folder.
        checkpoints: those that count, oldest first.
        plans: of the views, by their family.
        data: what is trained on.
        first: makes the network, called when threads and devices are chosen.
        teacher: opens an encoder that the method asks for.
        model: opens a package and its task that the method asks for.

    Raises:
        UsageError: a batch that cannot be divided, or a checkpoint of other data.
        DataError: the last checkpoint cannot be loaded; the older one is named.
    """
    training = spec.training
    with naming_older(checkpoints):
        about = _about(training, data.digest, checkpoints)
    torch.set_num_threads(about["threads"])
    fabric = make_fabric(choose_device(training.device), training.precision)
    begun = first()
    spec = spec.model_copy(update={"encoder": begun.encoder.spec})
    about["init"] = begun.init
    seen = set(begun.seen)

    def opened(loaded: LoadedEncoder | Model) -> nn.Module:
        seen.update(loaded.seen)
        return _kept(loaded.module.requires_grad_(False))

    setting = Setting(
        samples=len(data.table),
        steps=training.steps,
        steps_an_epoch=max(1, data.positions.count // training.batch_size),
        batch_size=training.batch_size,
        size_px=plans[GLOBAL].geometry.size_px,
        table=data.table,
        relations=data.relations,
        open=lambda word: opened(teacher(word)),
        open_model=lambda word, task: opened(model(word, task)),
        matched=plans[GLOBAL].matches,
        seed=training.seed,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        objective = make_objective(begun.encoder, spec.objective, setting)
    if training.precision == "float64":
        objective = objective.double()
    objective = objective.to(fabric.device, memory_format=memory_format(spec))  # type: ignore[call-overload]
    optimiser = make_optimiser(objective.groups(), training.optimiser)
    done = 0
    if checkpoints:
        with naming_older(checkpoints):
            done = load_checkpoint(checkpoints[-1], objective, optimiser, about)
    return Run(
        spec=spec,
        folder=out,
        plans=plans,
        objective=objective,
        optimiser=optimiser,
        fabric=fabric,
        stepper=Stepper(fabric, objective.train(), training.seed),
        seen=frozenset(seen),
        init=begun.init,
        about=about,
        done=done,
    )


def _kept(module: nn.Module) -> nn.Module:
    """A network that stays in evaluation mode, whatever mode the objective around it is in."""
    module.eval()
    module.train = MethodType(lambda self, mode=True: self, module)  # type: ignore[method-assign]
    return module


def _about(training: TrainingSpec, data: str, checkpoints: Sequence[Path]) -> dict[str, Any]:
    """What a checkpoint says of a run beside its step and its start."""
    threads = training.threads or (threads_of(checkpoints[-1]) if checkpoints else None)
    parts = ranks()[0] * training.accumulate
    if training.batch_size % parts:
        raise UsageError(
            f"training.batch_size: {training.batch_size} does not divide by {parts} "
            "(processes x training.accumulate)"
        )
    return {"data": data, "threads": choose_threads(threads), "batch_parts": parts}


def memory_format(spec: PretrainSpec) -> torch.memory_format:
    """How images and weights lie in memory."""
    formats = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
    return formats[spec.training.memory_format]
