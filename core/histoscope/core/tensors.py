"""Tensors in files that are either whole or absent."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from histoscope.core.errors import DataError
from histoscope.core.files import atomic_path, check_readable


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors, contiguous, atomically (safetensors refuses channels-last strides)."""
    with atomic_path(path) as part:
        save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, part)


def digest_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes and bytes, lower-case hex."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(
            tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        )
    return digest.hexdigest()


def load_tensors(path: Path, prefix: str = "") -> dict[str, Tensor]:
    """Read those tensors of a safetensors file whose names begin with a prefix, without it.

    Raises:
        DataError: absent, or not safetensors (a pickle is never opened).
    """
    with _opened(path) as file:
        names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
        return {name.removeprefix(prefix): file.get_tensor(name) for name in names}


def tensor_names(path: Path) -> list[str]:
    """The names of its tensors, of which none is read; errors as :func:`load_tensors`."""
    with _opened(path) as file:
        return list(file.keys())


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    check_readable(path)
    try:
        with safe_open(path, "pt") as file:
            yield file
    except (SafetensorError, OSError) as fault:
        raise DataError(
            f"{path}: not a safetensors file ({fault}); pickled weights are never loaded"
        ) from None


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Load a state dict that must fit exactly.

    Raises:
        DataError: names or shapes differ.
    """
    try:
        module.load_state_dict(dict(tensors), strict=True)
    except RuntimeError as fault:
        line = " ".join(str(fault).split())[:200]
        raise DataError(f"{where}: its weights do not fit the architecture ({line})") from None
