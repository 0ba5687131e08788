"""Tensors of a checkpoint from elsewhere; a pickled one is read in another process only."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from histoscope.core.encoders import unpickling
from histoscope.core.errors import DataError, UsageError, writing
from histoscope.core.tensors import load_tensors

PICKLED = (".pth", ".pt", ".bin", ".ckpt", ".pth.tar")
SAFE = ".safetensors"
TEMPORARY = Path("the folder of temporary files, TMPDIR")


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Attributes:
        tensors: by dotted name from the top of the file, in the file's order.
        places: dotted names of the mappings that hold them, empty for the file itself.
        ordered: whether the order is the network's; safetensors sorts by name.
    """

    tensors: Mapping[str, Tensor]
    places: Sequence[str]
    ordered: bool


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the tensors of a file.

    Raises:
        UsageError: absent, a folder, or a kind of file that holds no weights.
        DataError: damaged, without tensors, or it runs code when opened.
        CannotWrite: there is no room for them in the folder of temporary files.
    """
    if not path.exists():
        raise UsageError(f"{path}: no such file")
    if not path.is_file():
        raise UsageError(f"{path}: not a file; give the checkpoint itself")
    if path.name.lower().endswith(SAFE):
        tensors = load_tensors(path)
        if not tensors:
            raise DataError(f"{path}: holds no tensors")
        return Checkpoint(tensors, [""], ordered=False)
    if not path.name.lower().endswith(PICKLED):
        raise UsageError(f"{path}: no checkpoint; give one of {', '.join((*PICKLED, SAFE))}")
    with (
        writing(TEMPORARY),
        tempfile.TemporaryDirectory(prefix="histoscope-", ignore_cleanup_errors=True) as folder,
    ):
        converted = Path(folder) / "tensors.safetensors"
        _convert(path, converted)
        with safe_open(converted, "pt") as file:
            about = file.metadata()
            names = json.loads(about["names"])
            tensors = {name: file.get_tensor(str(place)) for place, name in enumerate(names)}
        return Checkpoint(tensors, json.loads(about["places"]), ordered=True)


def _convert(path: Path, converted: Path) -> None:
    """Write the tensors of a pickled file, and nothing else of it.

    Raises:
        DataError: there are none, or the file is refused.
        SafetensorError: they cannot be written.
    """
    said = in_another_process(path.resolve(), converted)
    kind, why = said.get("fault", ""), said.get("words", "")
    if kind == "code":
        raise DataError(
            f"{path}: holds more than tensors, and opening it would run code ({why}); nothing was "
            "run; where it was made, save the state_dict alone"
        )
    if kind == "empty":
        raise DataError(f"{path}: holds no tensors by name, but a {why}")
    if kind == "unwritten":
        raise SafetensorError(why)
    if kind:
        raise DataError(f"{path}: damaged, or no checkpoint of torch ({why})")


def in_another_process(path: Path, converted: Path) -> Mapping[str, str]:
    """What :func:`unpickling.main` answers, whatever becomes of its process."""
    words = [sys.executable, "-P", unpickling.__file__, str(path), str(converted)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    try:
        said: dict[str, str] = json.loads(done.stdout)
    except ValueError:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return {"fault": "damaged", "words": lines[-1][:160]}
    return said
