"""Pretraining: a plain loop under Lightning Fabric, that a step number resumes."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from histoscope.core import __version__
from histoscope.core.batch.stop import StopFlag
from histoscope.core.config import build, dump, load_yaml
from histoscope.core.contracts import Domain, Encoder
from histoscope.core.data.loader import Drawn, StepOrder, ViewDataset, view_loader
from histoscope.core.data.selection import Selection, select
from histoscope.core.data.store import ImageReader, Store
from histoscope.core.encoders.choose import open_encoder
from histoscope.core.encoders.folder import (
    EncoderInfo,
    digest_tensors,
    digest_units,
    save_encoder,
)
from histoscope.core.encoders.pixels import Normalisation, normalise, to_unit
from histoscope.core.encoders.timm_encoder import random_encoder
from histoscope.core.errors import Diverged, Interrupted, UsageError
from histoscope.core.files import holds_anything, write_text
from histoscope.core.objectives import OBJECTIVES
from histoscope.core.objectives.contract import Views
from histoscope.core.progress import Logged, Progress, Silent
from histoscope.core.randomness import generator
from histoscope.core.training.checkpoint import (
    finished,
    load_checkpoint,
    save_checkpoint,
    step_of,
    threads_of,
)
from histoscope.core.training.device import (
    choose_device,
    choose_threads,
    choose_workers,
    make_fabric,
    ranks,
    warn_of_crowding,
)
from histoscope.core.training.journal import Journal, check_events, draw_journal
from histoscope.core.training.monitors import Monitor, make_monitor
from histoscope.core.training.optimiser import make_optimiser, rate_at, set_rate
from histoscope.core.training.spec import PretrainSpec
from histoscope.core.training.step import Stepper
from histoscope.core.views.plan import ViewPlan


@dataclass
class _Run:
    """What the loop works on."""

    spec: PretrainSpec
    folder: Path
    plan: ViewPlan
    normalisation: Normalisation
    objective: Any
    optimiser: Any
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


def pretrain(
    store: Store,
    domain: Domain,
    spec: PretrainSpec,
    out: Path,
    *,
    split: str | None = None,
    progress: Progress,
) -> EncoderInfo:
    """Learn an encoder from a store's images, without labels.

    Args:
        store: whose ``train`` split is read.
        domain: of the store; it makes the views.
        spec: everything else; written to ``config.yaml``.
        out: the run's folder; an unfinished run of the same configuration goes on.
        split: ``FILE:PART`` instead of the store's own split.
        progress: who is told.

    Raises:
        UsageError: ``out`` holds something else, or what is asked for cannot be; nothing is
            written then.
        Diverged: the loss is not finite; the last good checkpoint is named.
        Interrupted: a checkpoint of the last whole step is written.
    """
    chosen = select(store, "train", split, marked=spec.marked)
    _check_folder(spec, out)
    if spec.training.tensorboard:
        check_events()
    size_px = int(store.about["sampling"]["size_px"])
    plan = domain.views(spec.views, size_px)
    run = _start(store, spec, out, plan, _data(store, chosen))
    info = _info(store, spec, run)
    views = run.objective.needs.global_views
    dataset = ViewDataset(ImageReader(store), chosen.rows, plan, views, spec.training.seed)
    _check_needs(run, len(dataset))
    share = (run.fabric.global_rank, run.fabric.world_size)
    training = spec.training
    order = StepOrder(
        len(dataset), training.batch_size, training.seed, run.done, training.steps, share
    )
    monitor = make_monitor(store, chosen.rows, run.normalisation, training.monitor, training.seed)
    progress = _claim(run, chosen.said, progress) if run.main else Silent()
    _train(run, dataset, order, monitor, progress)
    if run.main:
        units = store.index.column("unit").take(chosen.rows).to_pylist()
        save_encoder(out, run.objective.encoder, info, run.seen | digest_units(units))
        draw_journal(out)
    run.fabric.barrier()
    return info


def _data(store: Store, chosen: Selection) -> str:
    """Digest of what is trained on: which samples, and how their images were cut and kept."""
    ids = store.index.column("id").take(chosen.rows).to_pylist()
    how = [store.about[key] for key in ("domain", "sampling", "scale", "encoding")]
    return hashlib.blake2b("\n".join([json.dumps(how), *ids]).encode(), digest_size=16).hexdigest()


def _check_folder(spec: PretrainSpec, out: Path) -> None:
    """See that the folder is free, or holds a run of the same configuration.

    Before the first checkpoint there is nothing to lose, so the configuration may change.
    """
    config = out / "config.yaml"
    if config.is_file():
        before = build(PretrainSpec, load_yaml(config), str(config))
        if _deciding(before) != _deciding(spec) and finished(out / "checkpoints"):
            raise UsageError(
                f"{out}: holds a run of another configuration (config.yaml); give another --out"
            )
    elif holds_anything(out):
        raise UsageError(f"{out}: not empty and not a run; give another --out")


def _deciding(spec: PretrainSpec) -> PretrainSpec:
    """The configuration without what changes no number."""
    training = spec.training.model_copy(update={"tensorboard": False})
    encoder = spec.encoder if spec.init is None else ""  # what it starts from decides
    return spec.model_copy(update={"training": training, "encoder": encoder})


def _claim(run: _Run, said: str, progress: Progress) -> Progress:
    """Take the folder, and say there and to the person what the work is done with."""
    write_text(run.folder / "config.yaml", dump(run.spec))
    progress = Logged(progress, run.folder / "log.txt")
    progress.say(f"pretrain reads {said}")
    training, parts = run.spec.training, run.about["batch_parts"]
    workers = choose_workers(training.workers)
    progress.say(
        f"device {run.fabric.device}, {training.precision}, {run.about['threads']} threads, "
        f"{workers} workers, batch {training.batch_size}"
        + (f" in {parts} parts: batch norm sees {run.part_size} images" if parts > 1 else "")
    )
    warn_of_crowding(run.about["threads"], workers, progress)
    if run.done:
        progress.say(f"resumes after step {run.done}")
    return progress


def _start(store: Store, spec: PretrainSpec, out: Path, plan: ViewPlan, data: str) -> _Run:
    """Build the network, and load the last checkpoint if there is one."""
    training = spec.training
    checkpoints = finished(out / "checkpoints")
    threads = training.threads or (threads_of(checkpoints[-1]) if checkpoints else None)
    about: dict[str, Any] = {
        "data": data,
        "threads": choose_threads(threads),
        "batch_parts": ranks()[0] * training.accumulate,
    }
    if training.batch_size % about["batch_parts"]:
        raise UsageError(
            f"training.batch_size: {training.batch_size} does not divide by {about['batch_parts']} "
            "(processes x training.accumulate)"
        )
    torch.set_num_threads(about["threads"])
    fabric = make_fabric(choose_device(training.device), training.precision)
    encoder, seen, normalisation, init = _first_encoder(store, spec)
    spec = spec.model_copy(update={"encoder": _true_name(spec, encoder.architecture)})
    about["init"] = init
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        method = OBJECTIVES.load(spec.objective.base)
        objective = method(encoder, encoder.dim, spec.objective)
    objective = objective.to(fabric.device, memory_format=_memory_format(spec))
    optimiser = make_optimiser(objective, training.optimiser)
    done = load_checkpoint(checkpoints[-1], objective, optimiser, about) if checkpoints else 0
    stepper = Stepper(fabric, objective.train(), training.seed)
    return _Run(
        spec,
        out,
        plan,
        normalisation,
        objective,
        optimiser,
        fabric,
        stepper,
        seen,
        init,
        about,
        done,
    )


def _memory_format(spec: PretrainSpec) -> torch.memory_format:
    formats = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
    return formats[spec.training.memory_format]


def _first_encoder(
    store: Store, spec: PretrainSpec
) -> tuple[Any, frozenset[str], Normalisation, str]:
    """The network that training starts from, what it has seen, its normalisation, its name."""
    if spec.init is None:
        made = random_encoder(spec.encoder, spec.training.seed)
        return made, frozenset(), Normalisation(), f"random:{spec.encoder}"
    loaded = open_encoder(spec.init, store, spec.training.seed)
    if not any(True for _ in loaded.module.parameters()):
        raise UsageError(f"--init {spec.init}: has no weights to train")
    name = spec.init
    if Path(name).exists():  # a path may tell a name: the weights' digest stands for it
        name = f"weights {digest_tensors(loaded.module.state_dict())[:16]}"
    return loaded.module.train(), loaded.seen, loaded.info.normalisation, name


def _true_name(spec: PretrainSpec, architecture: str) -> str:
    """The network's name at timm: where there is ``init``, that decides.

    Raises:
        UsageError: another one was asked for.
    """
    name = architecture.removeprefix("timm:")
    if spec.encoder not in (name, PretrainSpec.model_fields["encoder"].default):
        raise UsageError(
            f"--init {spec.init}: is a {name}, but encoder is {spec.encoder}; "
            f"--set encoder={name}, or start from another"
        )
    return name


def _train(
    run: _Run,
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


def _watch(run: _Run, monitor: Monitor, journal: Journal, done: int, progress: Progress) -> None:
    """Measure, write down, and say what looks like a collapse."""
    now, alarming = monitor.measure(run.objective.encoder, run.fabric.device)
    if now:
        journal.measured({"step": done, **now})
    for line in alarming:
        progress.say(f"step {done}: {line}: training may have collapsed")


def _any_asked(run: _Run, stop: StopFlag) -> bool:
    """Whether any process was told to stop: all stop after the same step."""
    if run.fabric.world_size == 1:
        return stop.asked
    asked = torch.tensor(float(stop.asked), device=run.fabric.device)
    return float(cast(torch.Tensor, run.fabric.all_reduce(asked, reduce_op="sum"))) > 0


def _check_needs(run: _Run, samples: int) -> None:
    """Refuse parts too small for batch norm, and a memory of mostly own images."""
    rows, least = run.objective.needs.memory_rows, run.objective.needs.least_part
    if run.part_size < least:
        raise UsageError(
            f"training.batch_size: parts of {run.part_size}, but {run.spec.objective.base} needs "
            f"{least} (batch norm); set a larger batch, or fewer processes, training.accumulate or "
            "objective.momentum.groups"
        )
    if rows > samples // 2:
        raise UsageError(
            f"objective.momentum.rows: {rows} keys are more than half of {samples} samples; "
            f"--set objective.momentum.rows={samples // 2}"
        )


def _parts(run: _Run, batch: Drawn, step: int) -> list[Views]:
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


def _views(run: _Run, batch: Drawn, rows: slice, orders: Mapping[str, NDArray[np.int64]]) -> Views:
    """Move rows of a batch to the device and finish their views there."""
    device = run.fabric.device
    views = [
        normalise(
            run.plan.apply_on_device(to_unit(images[rows].to(device)), drawn[rows].to(device)),
            run.normalisation,
        ).contiguous(memory_format=_memory_format(run.spec))
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


def _info(store: Store, spec: PretrainSpec, run: _Run) -> EncoderInfo:
    encoder = cast(Encoder, run.objective.encoder)
    return EncoderInfo(
        architecture=encoder.architecture,
        dim=encoder.dim,
        normalisation=run.normalisation,
        domain=store.domain,
        sampling=store.about["sampling"],
        scale=store.scale,
        provenance={
            "kind": "pretrained",
            "objective": spec.objective.base,
            "init": run.init,
            "steps": spec.training.steps,
            "batch_size": spec.training.batch_size,
            "seed": spec.training.seed,
            "view_size_px": run.plan.geometry.size_px,
            "program": __version__,
        },
    )
