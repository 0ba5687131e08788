"""Learn an encoder from a store's images, without labels."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.nn.modules.batchnorm import _BatchNorm

from histoscope.core import __version__
from histoscope.core.config import build, dump, load_yaml
from histoscope.core.contracts import Domain, Scalar
from histoscope.core.data.companions import ORDERED
from histoscope.core.data.loader import DONOR, PARTNER, ViewDataset
from histoscope.core.data.order import StepOrder
from histoscope.core.data.selection import select
from histoscope.core.data.store import Store
from histoscope.core.data.units import digest_units
from histoscope.core.encoders.contract import EncoderSpec
from histoscope.core.encoders.folder import EncoderInfo, save_encoder
from histoscope.core.encoders.making import check_sizes, random_encoder
from histoscope.core.errors import UsageError
from histoscope.core.files import digest_of_bytes, holds_anything, remove_left, write_text
from histoscope.core.objectives.contrastive import SUPPORT
from histoscope.core.progress import Logged, Progress, Silent
from histoscope.core.runtime.alone import alone
from histoscope.core.runtime.threads import choose_workers, is_main, warn_of_crowding
from histoscope.core.stages.encoders import info_of, open_encoder
from histoscope.core.stages.models import open_model
from histoscope.core.stages.pretrain_data import (
    data_of,
    dataset_of,
    donors_of,
    planes_of,
    said_of_backgrounds,
)
from histoscope.core.tensors import digest_tensors
from histoscope.core.training.checkpoint import (
    check_planes,
    chosen,
    finished,
    keep_checkpoints,
    save_objective,
    step_of,
)
from histoscope.core.training.journal import check_events, draw_journal
from histoscope.core.training.loop import train
from histoscope.core.training.monitors import make_monitor
from histoscope.core.training.run import First, Run, start_run
from histoscope.core.training.spec import PretrainSpec
from histoscope.core.views.plan import GLOBAL
from histoscope.core.work.folder import differences

# of the training: where and how a run goes on; the checkpoint itself knows of threads
NORMED = 4  # times as many images at once as a method needs: statistics of 2 are no statistics
MAY_CHANGE = ("workers", "threads", "device", "checkpoint_every", "tensorboard")


def pretrain(
    store: Store,
    domain: Domain,
    spec: PretrainSpec,
    out: Path,
    *,
    split: str | None = None,
    from_step: int | None = None,
    progress: Progress,
) -> EncoderInfo:
    """Learn an encoder from a store's images, without labels.

    Args:
        store: whose ``train`` split is read.
        domain: of the store; it makes the views.
        spec: everything else; written to ``config.yaml``.
        out: the run's folder; an unfinished run of the same configuration goes on.
        split: ``FILE:PART`` instead of the store's own split.
        from_step: of the checkpoint to go on from; None: the last. Later ones are removed.
        progress: who is told.

    Raises:
        UsageError: ``out`` holds something else, another call writes there, or what is asked for
            cannot be; nothing is written then.
        DataError: the checkpoint is damaged; the older one is named.
        Diverged: the loss is not finite; the last good checkpoint is named.
        Interrupted: a checkpoint of the last whole step is written.
    """
    heard = progress if is_main() else Silent()
    begun = _begin(store, domain, spec, out, split, from_step, heard)
    run, training = begun.run, spec.training
    monitor = make_monitor(store, begun.dataset.rows, training.monitor, training.seed)
    with alone(out) if run.main else nullcontext(True) as held:
        progress = _claim(run, begun.said, progress) if run.main else Silent()
        if not held:
            progress.say("this file system knows no locks: see that no other call writes here")
        train(run, begun.dataset, begun.order, monitor, progress)
        info = _info(store, run)
        if run.main:
            units = store.index.column("unit").take(begun.dataset.rows).to_pylist()
            save_objective(out, run.objective)
            save_encoder(out, run.objective.published, info, run.seen | digest_units(units))
            draw_journal(out)
        run.fabric.barrier()
    return info


def rehearse(
    store: Store,
    domain: Domain,
    spec: PretrainSpec,
    out: Path,
    split: str | None = None,
    from_step: int | None = None,
) -> tuple[PretrainSpec, str]:
    """All that :func:`pretrain` does before the first step, and nothing is written.

    Returns:
        The resolved settings, and one sentence that says what is read.

    Raises:
        UsageError: as there.
    """
    begun = _begin(store, domain, spec, out, split, from_step, Silent())
    make_monitor(store, begun.dataset.rows, spec.training.monitor, spec.training.seed)
    epochs = spec.training.steps / begun.order.an_epoch
    return begun.run.spec, f"{begun.said}; {epochs:.1f} epochs"


@dataclass(frozen=True)
class _Begun:
    """A run and what it reads, in which order."""

    run: Run
    dataset: ViewDataset
    order: StepOrder
    said: str


def _begin(
    store: Store,
    domain: Domain,
    spec: PretrainSpec,
    out: Path,
    split: str | None,
    from_step: int | None,
    progress: Progress,
) -> _Begun:
    """Make all that the loop works on, or refuse what cannot be."""
    way = "--set marked=true reads them"
    selected = select(store, "train", split, marked=spec.marked, way=way)
    spec = _check_folder(spec, out)
    training = spec.training
    if training.tensorboard:
        check_events()
    size_px = store.sampling.size_px
    made = spec.views.of_families(GLOBAL)
    plans = {name: domain.views(views, size_px) for name, views in made.items()}
    sizes_px = list(dict.fromkeys([*(plan.geometry.size_px for plan in plans.values()), size_px]))
    data = data_of(store, domain, selected, spec)
    kept = chosen(out / "checkpoints", from_step)
    run = start_run(
        spec,
        out,
        kept,
        plans,
        data,
        lambda: _first(store, spec, sizes_px, progress),
        lambda word: open_encoder(word, store, training.seed, progress),
        lambda word, task: open_model(word, store, task),
    )
    _check_needs(run)
    planes = planes_of(store, run, selected)
    told = [selected.said, data.positions.said, *(f"with {name}" for name, _ in planes.values())]
    opened = {kind: one for kind, (_, one) in planes.items()}
    if opened:
        run.about["planes"] = digest_of_bytes([one.digest().encode() for one in opened.values()])
        for path in kept[-1:]:
            check_planes(path, run.about["planes"])
    dataset = dataset_of(store, selected, run, data, opened)
    told.append(said_of_backgrounds(run, dataset))
    if dataset.partners is not None:
        if not dataset.partners.held:
            raise UsageError(
                f"objective.positives: of {len(selected.rows)} images none is known to lie near "
                "another; leave it out, or give larger within_sides or within_s"
            )
        told.append(f"{dataset.partners.held} of {len(selected.rows)} have a partner")
    if dataset.companions is not None:
        if not dataset.companions.held:
            raise UsageError(
                f"objective.order: of {len(selected.rows)} images none lies before or behind "
                "another of its source; leave it out"
            )
        told.append(
            f"{dataset.companions.held} of {len(selected.rows)} lie in an order within their source"
        )
    share = (run.fabric.global_rank, run.fabric.world_size)
    order = StepOrder(data.positions, training.batch_size, run.done, training.steps, share)
    return _Begun(run, dataset, order, "; ".join(filter(None, told)))


def _check_folder(spec: PretrainSpec, out: Path) -> PretrainSpec:
    """See that the folder is free, or holds a run of the same configuration; the settings to go on.

    Before the first checkpoint there is nothing to lose, so the configuration may change. Planes
    that nobody named are those that the run took.
    """
    config = out / "config.yaml"
    if not config.is_file():
        if holds_anything(out):
            raise UsageError(f"{out}: not empty and not a run; give another --out")
        return spec
    before = build(PretrainSpec, load_yaml(config), str(config))
    if not finished(out / "checkpoints"):
        return spec
    spec = spec.model_copy(update={"planes": {**before.planes, **spec.planes}})
    changed = list(differences(_deciding(before), _deciding(spec)))
    if changed:
        raise UsageError(
            f"{out}: holds a run of another configuration ({'; '.join(changed[:3])}"
            f"{'; ...' if changed[3:] else ''}); give the same again, or another --out"
        )
    return spec


def _deciding(spec: PretrainSpec) -> dict[str, Any]:
    """The configuration without what a run may go on with otherwise."""
    body: dict[str, Any] = spec.model_dump(mode="json")
    for name in MAY_CHANGE:
        del body["training"][name]
    del body["training"]["monitor"]["every"]
    del body["encoder"]["input_px"]  # is filled in when the network is made
    if spec.init is not None:  # what it starts from decides
        del body["encoder"]
    return body


def _claim(run: Run, said: str, progress: Progress) -> Progress:
    """Take the folder, and say there and to the person what the work is done with."""
    remove_left(run.folder)
    checkpoints = run.folder / "checkpoints"
    whole = finished(checkpoints)
    kept = [path for path in whole if step_of(path) <= run.done]
    keep_checkpoints(checkpoints, kept)
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
    made_for = run.spec.encoder.input_px
    if made_for is not None:  # asked for, or chosen as it takes no other
        progress.say(f"{run.spec.encoder.architecture} is made for images of {made_for} px")
    warn_of_crowding(run.about["threads"], workers, progress)
    if run.done:
        later = "; later checkpoints are removed" * (len(kept) < len(whole))
        progress.say(f"resumes after step {run.done}{later}")
    return progress


def _first(store: Store, spec: PretrainSpec, sizes_px: Sequence[int], progress: Progress) -> First:
    """The network that training starts from: random weights, or those of ``init``."""
    if spec.init is None:
        if spec.objective.continual is not None:
            raise UsageError(
                "objective.continual: new weights have learnt nothing that could be kept; give "
                "--init RUN, or leave it out"
            )
        made = random_encoder(spec.encoder, sizes_px, spec.training.seed)
        if not any(True for _ in made.parameters()):
            raise UsageError(f"encoder {spec.encoder.architecture}: has no weights to train")
        return First(made, frozenset(), f"random:{spec.encoder.name}")
    loaded = open_encoder(spec.init, store, spec.training.seed, progress)
    if not any(True for _ in loaded.module.parameters()):
        raise UsageError(f"--init {spec.init}: has no weights to train")
    _check_asked(spec, loaded.info.network)
    if spec.encoder.architecture != loaded.info.network.architecture:
        progress.say(
            f"the network is {loaded.info.network.name} as of --init {spec.init}, not "
            f"{spec.encoder.name}"
        )
    check_sizes(loaded.encoder, sizes_px)
    init = spec.init
    if Path(init).exists():  # a path may tell a name: the weights' digest stands for it
        init = f"weights {digest_tensors(loaded.module.state_dict())[:16]}"
    return First(loaded.module.train(), loaded.seen, init)


def _check_asked(spec: PretrainSpec, network: EncoderSpec) -> None:
    """See that no other network is asked for than that of ``init``, which decides."""
    usual = PretrainSpec().encoder.architecture
    for name in ("pool", "input_px", "patch_px"):
        asked, its = (getattr(one, name, None) for one in (spec.encoder, network))
        if asked not in (None, its):
            raise UsageError(
                f"--init {spec.init}: encoder.{name} is {its}, {asked} was asked for; leave it away"
            )
    if spec.encoder.architecture not in (network.architecture, usual):
        raise UsageError(
            f"--init {spec.init}: is a {network.name}, but encoder is {spec.encoder.name}; "
            f"--set encoder={network.name}, or start from another"
        )


def _check_needs(run: Run) -> None:
    """Refuse parts too small for batch norm, and families of views that do not fit."""
    needs = run.objective.needs
    normed = any(isinstance(part, _BatchNorm) for part in run.objective.modules())
    least, wanted = needs.least_part * (NORMED if normed else 1), dict(needs.families)
    if needs.partners:
        wanted[PARTNER] = needs.partners
        run.plans.setdefault(PARTNER, run.plans[GLOBAL])
    elif run.spec.relations and not needs.relations:
        raise UsageError(f"relations: {run.spec.objective.base} has no use for near samples")
    if SUPPORT in wanted:
        run.plans.setdefault(SUPPORT, run.plans[GLOBAL])
    if donors := donors_of(run):
        wanted[DONOR] = donors
        run.plans.setdefault(DONOR, run.plans[GLOBAL])
    if needs.ordered:
        wanted[ORDERED] = needs.ordered
        run.plans.setdefault(ORDERED, run.plans[GLOBAL])
    for name in wanted.keys() ^ run.plans.keys():
        said = "wants" if name in wanted else "has no use for"
        raise UsageError(
            f"views.families.{name}: {run.spec.objective.base} {said} views of this family; its "
            f"families are {', '.join(wanted)}"
        )
    if run.part_size < least:
        raise UsageError(
            f"training.batch_size: parts of {run.part_size}, but {run.spec.objective.base} needs "
            f"{least}{' (batch norm)' * normed}; set a larger batch, or fewer processes, "
            "training.accumulate or groups of the objective"
        )
    if run.part_size % needs.multiple:
        raise UsageError(
            f"training.batch_size: parts of {run.part_size}, but images are mixed in twos; set "
            "another batch, or other processes or training.accumulate"
        )


def _info(store: Store, run: Run) -> EncoderInfo:
    spec = run.spec
    provenance: dict[str, Scalar] = {
        "kind": "pretrained",
        "objective": spec.objective.base,
        "init": run.init,
        "steps": spec.training.steps,
        "batch_size": spec.training.batch_size,
        "seed": spec.training.seed,
        "view_size_px": run.plans[GLOBAL].geometry.size_px,
        "program": __version__,
    }
    return info_of(run.objective.published, store, provenance)
