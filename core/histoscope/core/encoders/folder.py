"""An encoder on disk: ``encoder.json``, ``encoder.safetensors`` and ``seen.parquet``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from pydantic import Field, model_validator
from torch import nn

from histoscope.core.config import Spec, build
from histoscope.core.contracts import Sampling, Scalar
from histoscope.core.contracts.installed import sampling_of
from histoscope.core.data.units import read_seen, write_seen
from histoscope.core.encoders.colour import ColourEncoder
from histoscope.core.encoders.contract import Encoder
from histoscope.core.encoders.pixels import Normalisation
from histoscope.core.encoders.timm_encoder import TimmEncoder
from histoscope.core.errors import DataError
from histoscope.core.files import read_json, write_json
from histoscope.core.tensors import digest_tensors, load_tensors, load_weights, save_tensors

ENCODER = ("histoscope.encoder", 2)


class EncoderInfo(Spec):
    """What must be known to use an encoder.

    Attributes:
        architecture: ``timm:NAME`` or ``colour``.
        dim: width of a feature row.
        normalisation: of RGB in 0..1.
        domain: whose images.
        sampling: how they were cut, which says their physical scale: the domain's Sampling as a
            mapping.
        provenance: where the weights come from: kind, seed, steps, objective, program.
    """

    architecture: str
    dim: int
    normalisation: Normalisation = Normalisation()
    domain: str
    sampling: Mapping[str, Any]
    provenance: Mapping[str, Scalar] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _scale_is_of_sampling(cls, body: Any) -> Any:
        """Older files state the scale once more: it must agree."""
        if isinstance(body, Mapping) and {"scale", "domain", "sampling"} <= set(body):
            sampling_of(str(body["domain"]), body, "encoder")
            return {key: value for key, value in body.items() if key != "scale"}
        return body

    def cut(self, where: str) -> Sampling:
        """How images must be cut for it. Raises ConfigError: no sampling of its domain."""
        return sampling_of(self.domain, {"sampling": self.sampling}, where)


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

    @cached_property
    def digest(self) -> str:
        """Of its architecture, normalisation and weights, 32 hex digits."""
        told = f"{self.info.architecture} {self.info.normalisation!r} "
        weights = digest_tensors(self.module.state_dict())
        return hashlib.blake2b((told + weights).encode(), digest_size=16).hexdigest()


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


def load_encoder(folder: Path) -> LoadedEncoder:
    """Load what :func:`save_encoder` wrote."""
    body = read_json(folder / "encoder.json", *ENCODER)
    fields = {key: value for key, value in body.items() if key not in {"format", "version"}}
    info = build(EncoderInfo, fields, str(folder / "encoder.json"))
    module = make_module(info.architecture)
    load_weights(module, load_tensors(folder / "encoder.safetensors"), str(folder))
    return LoadedEncoder(cast(Encoder, module.eval()), info, read_seen(folder))
