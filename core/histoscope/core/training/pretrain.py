"""Pretraining: a plain loop under Lightning Fabric, that a step number resumes."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric

from histoscope.core import __version__
from histoscope.core.batch.stop import StopFlag
from histoscope.core.config import build, dump, load_yaml
from histoscope.core.contracts import Domain, Encoder, Views
from histoscope.core.data.loader import Drawn, StepOrder, ViewDataset, view_loader
from histoscope.core.data.selection import select
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
from histoscope.core.progress import Logged, Progress
from histoscope.core.randomness import generator
from histoscope.core.training.checkpoint import finished, load_checkpoint, save_checkpoint
from histoscope.core.training.curves import MetricsFile, draw_curves, read_metrics
from histoscope.core.training.device import choose_device, choose_workers, set_threads
from histoscope.core.training.optimiser import make_optimiser, rate_at, set_rate
from histoscope.core.training.spec import PretrainSpec
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
    seen: frozenset[str]
    init: str
    data: str
    workers: int
    done: int


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
    size_px = int(store.about["sampling"]["size_px"])
    plan = domain.views(spec.views, size_px)
    dataset = ViewDataset(ImageReader(store), chosen.rows, plan, 2, spec.training.seed)
    ids = store.index.column("id").take(chosen.rows).to_pylist()
    data = hashlib.blake2b("\n".join(ids).encode(), digest_size=16).hexdigest()
    run = _start(store, spec, out, plan, data)
    info = _info(store, spec, run)
    _check_memory(run, len(dataset))
    order = StepOrder(
        len(dataset), spec.training.batch_size, spec.training.seed, run.done, spec.training.steps
    )
    progress = _claim(run, chosen.said, progress)
    _train(run, dataset, order, progress)
    units = store.index.column("unit").take(chosen.rows).to_pylist()
    save_encoder(out, run.objective.encoder, info, run.seen | digest_units(units))
    draw_curves(read_metrics(out / "metrics.csv"), out / "curves.png")
    return info


def _check_folder(spec: PretrainSpec, out: Path) -> None:
    """See that the folder is free, or holds a run of the same configuration.

    Before the first checkpoint there is nothing to lose, so the configuration may change.
    """
    config = out / "config.yaml"
    if config.is_file():
        before = build(PretrainSpec, load_yaml(config), str(config))
        if before != spec and finished(out / "checkpoints"):
            raise UsageError(
                f"{out}: holds a run of another configuration (config.yaml); give another --out"
            )
    elif holds_anything(out):
        raise UsageError(f"{out}: not empty and not a run; give another --out")


def _claim(run: _Run, said: str, progress: Progress) -> Progress:
    """Take the folder, and say there and to the person what the work is done with."""
    write_text(run.folder / "config.yaml", dump(run.spec))
    progress = Logged(progress, run.folder / "log.txt")
    progress.say(f"pretrain reads {said}")
    training = run.spec.training
    threads = set_threads(training.threads, run.workers, progress)
    progress.say(
        f"device {run.fabric.device}, {threads} threads, {run.workers} workers, "
        f"batch {training.batch_size}"
    )
    if run.done:
        progress.say(f"resumes after step {run.done}")
    return progress


def _start(store: Store, spec: PretrainSpec, out: Path, plan: ViewPlan, data: str) -> _Run:
    """Build the network, and load the last checkpoint if there is one."""
    training = spec.training
    workers = choose_workers(training.workers)
    device = choose_device(training.device)
    if device.type == "cuda":
        fabric = Fabric(accelerator="cuda", devices=[device.index or 0])
    else:
        fabric = Fabric(accelerator="cpu", devices=1)
    encoder, seen, normalisation, init = _first_encoder(store, spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        method = OBJECTIVES.load(spec.objective.base)
        objective = method(encoder, encoder.dim, spec.objective)
    objective = objective.to(fabric.device, memory_format=torch.channels_last)
    optimiser = make_optimiser(objective, training.optimiser)
    checkpoints = finished(out / "checkpoints")
    done = load_checkpoint(checkpoints[-1], objective, optimiser, data) if checkpoints else 0
    return _Run(
        spec,
        out,
        plan,
        normalisation,
        objective,
        optimiser,
        fabric,
        seen,
        init,
        data,
        workers,
        done,
    )


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


def _train(run: _Run, dataset: ViewDataset, order: StepOrder, progress: Progress) -> None:
    """The loop: one optimiser step a batch."""
    training = run.spec.training
    metrics = MetricsFile(run.folder / "metrics.csv", run.done)
    checkpoints = run.folder / "checkpoints"
    progress.start("pretrain", training.steps - run.done, "steps")
    run.objective.train()
    began = time.perf_counter()
    with StopFlag() as stop:
        batches = view_loader(dataset, order, run.workers)
        for step, batch in enumerate(batches, start=run.done):
            set_rate(run.optimiser, rate_at(step, training.steps, training.optimiser))
            report = run.objective.loss(_views(run, batch, step), step)
            loss = report.loss.item()
            if loss != loss or loss in (float("inf"), float("-inf")):
                raise Diverged(_diverged(step, checkpoints))
            run.optimiser.zero_grad(set_to_none=True)
            run.fabric.backward(report.loss)
            run.optimiser.step()
            run.objective.after_step(step)
            row = {"step": step + 1, "loss": loss, **report.terms}
            row["learning_rate"] = run.optimiser.param_groups[0]["lr"]
            now = time.perf_counter()
            metrics.add({**row, "seconds": now - began})
            began = now
            progress.advance()
            last = step + 1 == training.steps
            if last or (step + 1) % training.checkpoint_every == 0 or stop.asked:
                save_checkpoint(checkpoints, step + 1, run.objective, run.optimiser, run.data)
            if stop.asked and not last:
                done = f"step {step + 1} of {training.steps} is saved"
                raise Interrupted(f"interrupted; {done}; the same command goes on")
    progress.finish()


def _check_memory(run: _Run, samples: int) -> None:
    """Refuse a memory of more than half of the samples: it would hold mostly own images."""
    rows = run.objective.needs.memory_rows
    if rows > samples // 2:
        raise UsageError(
            f"objective.momentum.rows: {rows} keys are more than half of {samples} samples; "
            f"--set objective.momentum.rows={samples // 2}"
        )


def _views(run: _Run, batch: Drawn, step: int) -> Views:
    """Move a batch to the device and finish its views there, with the step's own draws."""
    device = run.fabric.device
    views = [
        normalise(
            run.plan.apply_on_device(to_unit(images.to(device)), drawn.to(device)),
            run.normalisation,
        )
        for images, drawn in zip(batch.images, batch.drawn, strict=True)
    ]
    count, seed = len(batch.index), run.spec.training.seed
    drawn = {
        name: torch.from_numpy(generator(seed, f"step/{name}", step).permutation(count)).to(device)
        for name in run.objective.needs.permutations
    }
    return Views(batch.index.to(device), views, drawn)


def _diverged(step: int, checkpoints: Path) -> str:
    # the checkpoint of the step just before holds the weights that gave this loss
    good = [path for path in finished(checkpoints) if path.name < f"step-{step:06d}"]
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
