"""The loop: one optimiser step a batch."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from histoscope.core.data.loader import Drawn, ViewDataset, view_loader
from histoscope.core.data.order import StepOrder
from histoscope.core.encoders.pixels import to_unit
from histoscope.core.errors import Diverged, Interrupted
from histoscope.core.objectives.contract import Views
from histoscope.core.optim.schedules import rate_at, set_rate
from histoscope.core.progress import Progress
from histoscope.core.randomness import generator
from histoscope.core.runtime.stop import StopFlag
from histoscope.core.runtime.threads import choose_workers
from histoscope.core.training.checkpoint import (
    finished,
    save_checkpoint,
    step_of,
)
from histoscope.core.training.journal import Journal
from histoscope.core.training.monitors import Monitor
from histoscope.core.training.run import Run, memory_format


def train(
    run: Run,
    dataset: ViewDataset,
    order: StepOrder,
    monitor: Monitor | None,
    progress: Progress,
) -> None:
    """The loop: one optimiser step a batch."""
    training = run.spec.training
    journal = Journal(run.folder, run.done, events=training.tensorboard) if run.main else None
    if journal and journal.lost:
        progress.say(
            f"metrics.csv: the rows of {journal.lost} steps before step {run.done + 1} are torn "
            "off, which only its curves lack"
        )
    if journal and monitor:
        monitor.last = journal.measured_before
    checkpoints = run.folder / "checkpoints"
    progress.start("pretrain", training.steps - run.done, "steps")
    began = time.perf_counter()
    with StopFlag() as stop, torch.random.fork_rng(), journal or nullcontext():
        batches = view_loader(dataset, order, choose_workers(training.workers))
        for step, batch in enumerate(batches, start=run.done):
            set_rate(run.optimiser, rate_at(step, training.steps, training.optimiser))
            run.optimiser.zero_grad(set_to_none=True)
            report = run.stepper.gradient(_parts(run, batch, step), step)
            loss = report.loss.item()
            if not math.isfinite(loss):
                raise Diverged(_diverged(step, checkpoints))
            run.optimiser.step()
            run.stepper.after(step)
            now = time.perf_counter()
            if journal:
                rate = run.optimiser.param_groups[0]["lr"]
                row = {"step": step + 1, "loss": loss, **report.terms, "learning_rate": rate}
                journal.trained({**row, "seconds": now - began})
            began = now
            progress.advance()
            if journal and monitor and (step + 1) % training.monitor.every == 0:
                _watch(run, monitor, journal, step + 1, progress)
            last, asked = step + 1 == training.steps, _any_asked(run, stop)
            if run.main and (last or (step + 1) % training.checkpoint_every == 0 or asked):
                save_checkpoint(checkpoints, step + 1, run.objective, run.optimiser, run.about)
            if asked and not last:
                done = f"step {step + 1} of {training.steps} is saved"
                raise Interrupted(f"interrupted; {done}; the same command goes on")
    progress.finish()


def _watch(run: Run, monitor: Monitor, journal: Journal, done: int, progress: Progress) -> None:
    """Measure, write down, and say what looks like a collapse."""
    now, alarming = monitor.measure(run.objective.encoder, run.fabric.device)
    if now:
        journal.measured({"step": done, **now})
    for line in alarming:
        progress.say(f"step {done}: {line}: training may have collapsed")


def _any_asked(run: Run, stop: StopFlag) -> bool:
    """Whether any process was told to stop: all stop after the same step."""
    if run.fabric.world_size == 1:
        return stop.asked
    asked = torch.tensor(float(stop.asked), device=run.fabric.device)
    return float(cast(torch.Tensor, run.fabric.all_reduce(asked, reduce_op="sum"))) > 0


def _parts(run: Run, batch: Drawn, step: int) -> list[Views]:
    """This process's parts of the batch, on the device, each with the step's own draws."""
    size, training = run.part_size, run.spec.training
    places = range(0, len(batch.index), size)
    first = run.fabric.global_rank * len(batch.index)  # of this process in the global batch
    orders = {
        name: generator(training.seed, f"step/{name}", step).permutation(training.batch_size)
        for name in run.objective.needs.permutations
    }
    return [
        _views(
            run,
            batch,
            slice(place, place + size),
            {name: o[first + place : first + place + size].argsort() for name, o in orders.items()},
        )
        for place in places
    ]


def _views(run: Run, batch: Drawn, rows: slice, orders: Mapping[str, NDArray[np.int64]]) -> Views:
    """Move rows of a batch to the device and finish their views there."""
    device = run.fabric.device
    views = [
        run.plan.apply_on_device(
            to_unit(images[rows].to(device)), drawn[rows].to(device)
        ).contiguous(memory_format=memory_format(run.spec))
        for images, drawn in zip(batch.images, batch.drawn, strict=True)
    ]
    drawn = {name: torch.from_numpy(order).to(device) for name, order in orders.items()}
    return Views(batch.index[rows].to(device), views, drawn)


def _diverged(step: int, checkpoints: Path) -> str:
    # the checkpoint of the step just before holds the weights that gave this loss
    good = [path for path in finished(checkpoints) if step_of(path) < step]
    kept = f"the last good checkpoint is {good[-1]}" if good else "there is no good checkpoint yet"
    return (
        f"step {step + 1}: the loss is not finite; {kept}; "
        "try a smaller rate (--set training.optimiser.learning_rate=...) and another --out"
    )
