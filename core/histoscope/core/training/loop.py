"""The loop: one optimiser step a batch."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from pathlib import Path
from typing import cast

import torch

from histoscope.core.data.loader import ViewDataset, view_loader
from histoscope.core.data.order import StepOrder
from histoscope.core.errors import Diverged, Interrupted
from histoscope.core.objectives.contract import Clock
from histoscope.core.optim.groups import descend
from histoscope.core.progress import Progress
from histoscope.core.runtime.stop import StopFlag
from histoscope.core.runtime.threads import choose_workers
from histoscope.core.training.batches import batch_of
from histoscope.core.training.checkpoint import (
    finished,
    save_checkpoint,
    step_of,
)
from histoscope.core.training.corpus import StoreCorpus
from histoscope.core.training.journal import Journal
from histoscope.core.training.monitors import Monitor
from histoscope.core.training.run import Run


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
    corpus = StoreCorpus(dataset, run.fabric)
    with StopFlag() as stop, torch.random.fork_rng(), journal or nullcontext():
        batches = view_loader(dataset, order, choose_workers(training.workers))
        for step, batch in enumerate(batches, start=run.done):
            clock = Clock(step, training.steps, step // order.an_epoch)
            if step % order.an_epoch == 0:
                run.objective.begin_epoch(corpus, clock)
            run.optimiser.zero_grad(set_to_none=True)
            loss, shown = run.stepper.gradient(batch_of(run, batch, step), clock).read()
            if not math.isfinite(loss):
                raise Diverged(_diverged(step, checkpoints))
            rate = descend(run.optimiser, training.optimiser, step, training.steps)
            run.stepper.after(clock)
            now = time.perf_counter()
            if journal:
                row = {"step": step + 1, "loss": loss, **shown, "learning_rate": rate}
                journal.trained({**row, "seconds": now - began})
            began = now
            progress.advance()
            if journal and monitor and (step + 1) % training.monitor.every == 0:
                _watch(run, monitor, journal, step + 1, progress)
            last, asked = step + 1 == training.steps, _any_asked(run, stop)
            if run.main and (last or (step + 1) % training.checkpoint_every == 0 or asked):
                save_checkpoint(checkpoints, step + 1, run.objective, run.optimiser, run.about)
            if asked and not last:
                run.fabric.barrier()  # nobody leaves, and ends the others, before it is
                done = f"step {step + 1} of {training.steps} is saved"
                raise Interrupted(f"interrupted; {done}; the same command goes on")
    progress.finish()


def _watch(run: Run, monitor: Monitor, journal: Journal, done: int, progress: Progress) -> None:
    """Measure, write down, and say what looks like a collapse."""
    projections = run.stepper.projections
    now, alarming = monitor.measure(run.objective.published, run.fabric.device, projections)
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


def _diverged(step: int, checkpoints: Path) -> str:
    # the checkpoint of the step just before holds the weights that gave this loss
    good = [path for path in finished(checkpoints) if step_of(path) < step]
    kept = f"the last good checkpoint is {good[-1]}" if good else "there is no good checkpoint yet"
    return (
        f"step {step + 1}: the loss is not finite; {kept}; "
        "try a smaller rate (--set training.optimiser.learning_rate=...) and another --out"
    )
