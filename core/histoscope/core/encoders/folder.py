"""An encoder on disk: ``encoder.json``, ``encoder.safetensors`` and ``seen.parquet``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from histoscope.core.config import Spec, build
from histoscope.core.contracts import Encoder, Scalar
from histoscope.core.data.store import Store
from histoscope.core.domains import load_domain
from histoscope.core.encoders.colour import ColourEncoder
from histoscope.core.encoders.pixels import Normalisation, to_tensor
from histoscope.core.encoders.timm_encoder import TimmEncoder
from histoscope.core.errors import DataError
from histoscope.core.files import atomic_path, read_json, read_table, write_json, write_table

ENCODER = ("histoscope.encoder", 1)
SEEN = ("histoscope.seen", 1)


class EncoderInfo(Spec):
    """What must be known to use an encoder.

    Attributes:
        architecture: ``timm:NAME`` or ``colour``.
        dim: width of a feature row.
        normalisation: of RGB in 0..1.
        domain: whose images.
        sampling: how they were cut: the domain's Sampling as a mapping.
        scale: physical scale of the images.
        provenance: where the weights come from: kind, seed, steps, objective, program.
    """

    architecture: str
    dim: int
    normalisation: Normalisation = Normalisation()
    domain: str
    sampling: Mapping[str, Any]
    scale: Mapping[str, float]
    provenance: Mapping[str, Scalar] = Field(default_factory=dict)


@dataclass(frozen=True)
class LoadedEncoder:
    """An encoder ready to use, in evaluation mode."""

    encoder: Encoder
    info: EncoderInfo
    seen: frozenset[str]

    @property
    def module(self) -> nn.Module:
        """The encoder as a torch module."""
        return cast(nn.Module, self.encoder)


def digest_units(units: Iterable[str]) -> frozenset[str]:
    """Digests of cases, sources or samples, 16 hex digits: enough to know one again.

    Keyed by the program's name only, so that two of its files can be compared; a name short
    enough to guess can be guessed. No name stands in the file itself.
    """
    return frozenset(
        hashlib.blake2b(unit.encode(), digest_size=8, key=b"histoscope").hexdigest()
        for unit in set(units)
    )


def write_seen(folder: Path, seen: frozenset[str]) -> None:
    """Write ``seen.parquet``: one digest a row, sorted."""
    column = pa.array(sorted(seen), pa.string())
    write_table(folder / "seen.parquet", *SEEN, pa.table({"digest": column}))


def read_seen(folder: Path) -> frozenset[str]:
    """Read ``seen.parquet``."""
    return frozenset(read_table(folder / "seen.parquet", *SEEN).column("digest").to_pylist())


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


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        DataError: absent, or not safetensors (a pickle is never opened).
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as fault:
        raise DataError(
            f"{path}: not a safetensors file ({fault}); pickled weights are never loaded"
        ) from None


def save_encoder(folder: Path, module: nn.Module, info: EncoderInfo, seen: frozenset[str]) -> None:
    """Write an encoder; ``encoder.json`` comes last."""
    save_tensors(folder / "encoder.safetensors", module.state_dict())
    write_seen(folder, seen)
    write_json(folder / "encoder.json", *ENCODER, info.model_dump(mode="json"))


def make_module(architecture: str) -> nn.Module:
    """The module of an architecture, its weights not yet loaded."""
    kind, _, name = architecture.partition(":")
    if kind == "colour":
        return ColourEncoder()
    if kind == "timm":
        return TimmEncoder(name)
    raise DataError(f"unknown architecture {architecture!r}")


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


def load_encoder(folder: Path) -> LoadedEncoder:
    """Load what :func:`save_encoder` wrote."""
    body = read_json(folder / "encoder.json", *ENCODER)
    fields = {key: value for key, value in body.items() if key not in {"format", "version"}}
    info = build(EncoderInfo, fields, str(folder / "encoder.json"))
    module = make_module(info.architecture)
    load_weights(module, load_tensors(folder / "encoder.safetensors"), str(folder))
    return LoadedEncoder(cast(Encoder, module.eval()), info, read_seen(folder))


def check_fits(info: EncoderInfo, store: Store, where: str) -> None:
    """Refuse a store of another domain, scale, size or colour; nothing is changed in silence.

    Raises:
        DataError: naming both figures.
    """
    if info.domain != store.domain:
        raise DataError(f"{where}: made for {info.domain}, but {store.path} holds {store.domain}")
    for name, value in info.scale.items():
        found = store.scale.get(name, float("nan"))
        if not abs(found - value) <= 0.01 * value:
            raise DataError(
                f"{where}: made at {name} {value:g}, but {store.path} is at {name} {found:g}; "
                "prepare the data at the same scale"
            )
    ours, theirs = info.sampling.get("size_px"), store.about["sampling"].get("size_px")
    if ours != theirs:
        raise DataError(
            f"{where}: takes images of {ours} px, but {store.path} holds {theirs} px; "
            f"prepare the data with --size-px {ours}"
        )
    kind = load_domain(info.domain).sampling
    made, prepared = (
        build(kind, sampling, where) for sampling in (info.sampling, store.about["sampling"])
    )
    for name in kind.alike:
        ours, theirs = getattr(made, name), getattr(prepared, name)
        if ours != theirs:
            raise DataError(
                f"{where}: made with {name} {ours}, but {store.path} with {theirs}; "
                f"prepare the data with --{name.replace('_', '-')} {ours}"
            )


def encode_batch(loaded: LoadedEncoder, images: Tensor) -> Tensor:
    """uint8 (batch, height, width, 3) to features (batch, dim), without gradient."""
    with torch.inference_mode():
        return loaded.encoder(to_tensor(images, loaded.info.normalisation))
