"""Checkpoints: weights, optimiser state and the step number, as safetensors and JSON."""

from __future__ import annotations

import shutil
from pathlib import Path

from torch import Tensor, nn
from torch.optim import Optimizer

from histoscope.core.encoders.folder import load_tensors, load_weights, save_tensors
from histoscope.core.errors import UsageError
from histoscope.core.files import read_json, write_json

CHECKPOINT = ("histoscope.checkpoint", 1)


def save_checkpoint(
    folder: Path, step: int, module: nn.Module, optimiser: Optimizer, data: str
) -> Path:
    """Write ``step-NNNNNN``; ``checkpoint.json`` comes last. Older ones but one are removed.

    Args:
        folder: of all checkpoints.
        step: steps done.
        module, optimiser: their state is kept.
        data: digest of what was trained on, which resuming compares.
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
    write_json(path / "checkpoint.json", *CHECKPOINT, {"step": step, "data": data})
    for old in finished(folder)[:-2]:
        shutil.rmtree(old)
    return path


def finished(folder: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    return sorted(file.parent for file in folder.glob("step-*/checkpoint.json"))


def load_checkpoint(path: Path, module: nn.Module, optimiser: Optimizer, data: str) -> int:
    """Load a checkpoint into a module and its optimiser; returns the number of steps done.

    Raises:
        UsageError: it was trained on other data.
    """
    about = read_json(path / "checkpoint.json", *CHECKPOINT)
    if about["data"] != data:
        raise UsageError(f"{path}: was trained on other data; give another --out")
    load_weights(module, load_tensors(path / "model.safetensors"), str(path))
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in load_tensors(path / "optimiser.safetensors").items():
        place, _, key = name.partition(".")
        state.setdefault(int(place), {})[key] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
    return int(about["step"])
