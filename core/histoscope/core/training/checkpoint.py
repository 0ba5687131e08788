"""Checkpoints: weights, optimiser state and the step number, as safetensors and JSON."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from histoscope.core.config import build, load_yaml
from histoscope.core.errors import DataError, UsageError, writing
from histoscope.core.files import read_json, write_json
from histoscope.core.objectives.contract import Objective
from histoscope.core.objectives.mixed import head_of
from histoscope.core.tensors import load_tensors, load_weights, save_tensors
from histoscope.core.training.spec import PretrainSpec

CHECKPOINT = ("histoscope.checkpoint", 1)


def save_checkpoint(
    folder: Path, step: int, module: nn.Module, optimiser: Optimizer, about: Mapping[str, Any]
) -> Path:
    """Write ``step-NNNNNN``; ``checkpoint.json`` comes last. Older ones but one are removed.

    Args:
        folder: of all checkpoints.
        step: steps done.
        module, optimiser: their state is kept.
        about: what resuming asks: ``data``, the digest of what was trained on, ``init``, what
            training began from, ``threads`` and ``batch_parts``.
    """
    path = folder / f"step-{step:06d}"
    save_tensors(path / "model.safetensors", module.state_dict())
    state: dict[str, Tensor] = {
        f"{place}.{name}": value
        for place, entry in optimiser.state_dict()["state"].items()
        for name, value in entry.items()
        if value is not None
    }
    save_tensors(path / "optimiser.safetensors", state)
    write_json(path / "checkpoint.json", *CHECKPOINT, {"step": step, **about})
    keep_checkpoints(folder, finished(folder)[-2:])
    return path


def keep_checkpoints(folder: Path, kept: Sequence[Path]) -> None:
    """Remove all others, also those that a killed call left without their last file."""
    for other in set(folder.glob("step-*")) - set(kept):
        with writing(other):
            shutil.rmtree(other)


def save_objective(folder: Path, objective: Objective) -> None:
    """Write ``objective.safetensors``: what the objective holds beside the published network."""
    published = {id(value) for value in objective.published.state_dict(keep_vars=True).values()}
    state = objective.state_dict(keep_vars=True)
    kept = {name: value for name, value in state.items() if id(value) not in published}
    save_tensors(folder / "objective.safetensors", kept)


def load_head(folder: Path, dim: int) -> nn.Module | None:
    """The projection head of a finished run, in evaluation mode.

    None: it has none, its method does not tell which it is, or the folder holds no run.

    Args:
        folder: of the run.
        dim: width of its network's features.

    Raises:
        DataError: the file is damaged, or holds another head.
    """
    file, config = folder / "objective.safetensors", folder / "config.yaml"
    if not (file.is_file() and config.is_file()):
        return None
    spec = build(PretrainSpec, load_yaml(config), str(config)).objective
    told = head_of(spec, dim)
    if told is None:
        return None
    head, place = told
    load_weights(head, load_tensors(file, place), str(file))
    return head.eval()


def finished(folder: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    whole = (file.parent for file in folder.glob("step-*/checkpoint.json"))
    return sorted(whole, key=step_of)


def chosen(folder: Path, step: int | None) -> list[Path]:
    """Checkpoints up to the one to go on from, oldest first; empty where a run begins.

    Args:
        folder: of all checkpoints.
        step: of the one that is asked for; None: the last.

    Raises:
        UsageError: there is none of this step.
    """
    whole = finished(folder)
    if step is None:
        return whole
    known = [path for path in whole if step_of(path) <= step]
    if not known or step_of(known[-1]) != step:
        there = ", ".join(str(step_of(path)) for path in whole) or "there is none"
        raise UsageError(f"--from-step {step}: {folder} holds no such checkpoint ({there})")
    return known


@contextmanager
def naming_older(checkpoints: Sequence[Path]) -> Iterator[None]:
    """Where the last of some checkpoints cannot be loaded, say how to go on without it."""
    try:
        yield
    except DataError as fault:
        *older, last = checkpoints
        way = (
            f"{older[-1].name} is older: --from-step {step_of(older[-1])} goes on from there"
            if older
            else f"there is no older one: remove {last} to begin anew"
        )
        raise DataError(f"{fault}; {way}") from None


def step_of(path: Path) -> int:
    """Steps done at a checkpoint, by its name."""
    return int(path.name.removeprefix("step-"))


def load_checkpoint(
    path: Path, module: nn.Module, optimiser: Optimizer, ours: Mapping[str, Any]
) -> int:
    """Load a checkpoint into a module and its optimiser; returns the number of steps done.

    Args:
        path: what :func:`save_checkpoint` wrote.
        module, optimiser: they get its state.
        ours: as ``about`` there.

    Raises:
        UsageError: it was trained on other data, from another start, in another number of parts
            or on another number of threads.
        DataError: it is damaged, or of other weights.
    """
    about = _about(path)
    if about["data"] != ours["data"]:
        raise UsageError(
            f"{path}: was trained on other data (another store, part or sampling); give another "
            "--out"
        )
    if about["init"] != ours["init"]:
        raise UsageError(
            f"{path}: began from {about['init']}, --init is now {ours['init']}; give the weights "
            "that it began from, or another --out"
        )
    if about["batch_parts"] != ours["batch_parts"]:
        raise UsageError(
            f"{path}: was trained in {about['batch_parts']} parts (processes x accumulate), now "
            f"in {ours['batch_parts']}: batch norm would see other images; start as many processes"
        )
    if about["threads"] != ours["threads"]:
        raise UsageError(
            f"{path}: was trained on {about['threads']} threads, training.threads is now "
            f"{ours['threads']}: other numbers give other last bits; leave it away, or give "
            "another --out"
        )
    load_weights(module, load_tensors(path / "model.safetensors"), str(path))
    _load_optimiser(path / "optimiser.safetensors", optimiser)
    return int(about["step"])


def check_planes(path: Path, planes: str) -> None:
    """See that a checkpoint was trained with the planes that are there now.

    Raises:
        UsageError: with others, of the same names.
    """
    if _about(path).get("planes", planes) != planes:
        raise UsageError(
            f"{path}: was trained with other masks of the same name; make those again, or give "
            "another --out"
        )


def _load_optimiser(file: Path, optimiser: Optimizer) -> None:
    weights = [weight for group in optimiser.param_groups for weight in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in load_tensors(file).items():
        place, _, key = name.partition(".")
        if not place.isdecimal() or int(place) >= len(weights):
            raise DataError(f"{file}: {name} is of no weight")
        state.setdefault(int(place), {})[key] = _lying_as(weights[int(place)], value)
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})


def _lying_as(weight: Tensor, value: Tensor) -> Tensor:
    """A moment of a weight in the weight's memory format, which files do not keep."""
    if value.shape != weight.shape:
        return value
    return torch.empty_like(weight, dtype=value.dtype).copy_(value)


def threads_of(path: Path) -> int:
    """How many threads the run of a checkpoint uses: other numbers give other last bits."""
    return int(_about(path)["threads"])


def _about(path: Path) -> dict[str, Any]:
    """What ``checkpoint.json`` says.

    Raises:
        UsageError: it does not say all that resuming asks.
    """
    about = read_json(path / "checkpoint.json", *CHECKPOINT)
    missing = [
        key for key in ("step", "data", "init", "threads", "batch_parts") if key not in about
    ]
    if missing:
        raise UsageError(
            f"{path}: was made by another histoscope (no {', '.join(missing)}); give another --out"
        )
    return about
