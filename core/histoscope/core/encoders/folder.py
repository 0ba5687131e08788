"""An encoder on disk: ``encoder.json``, ``encoder.safetensors`` and ``seen.parquet``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from pydantic import Field, SerializeAsAny, computed_field, model_validator
from torch import nn

from histoscope.core.config import Spec, build
from histoscope.core.contracts import Sampling, Scalar
from histoscope.core.contracts.installed import sampling_of
from histoscope.core.data.units import read_seen, write_seen
from histoscope.core.encoders.contract import Encoder, EncoderSpec
from histoscope.core.encoders.making import rebuilt
from histoscope.core.encoders.pixels import Normalisation
from histoscope.core.errors import UsageError
from histoscope.core.files import read_json, write_json
from histoscope.core.tensors import digest_tensors, load_tensors, load_weights, save_tensors

ENCODER = ("histoscope.encoder", 3)


class EncoderInfo(Spec):
    """What must be known to use an encoder.

    Attributes:
        network: what it is made of.
        dim: width of a feature row.
        normalisation: of RGB in 0..1.
        domain: whose images; empty where that is unknown, as of weights from elsewhere.
        sampling: how they were cut, which says their physical scale: the domain's Sampling as a
            mapping.
        provenance: where the weights come from: kind, seed, steps, objective, program.
    """

    network: SerializeAsAny[EncoderSpec]
    dim: int
    normalisation: Normalisation = Normalisation()
    domain: str = ""
    sampling: Mapping[str, Any] = Field(default_factory=dict)
    provenance: Mapping[str, Scalar] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _as_now(cls, body: Any) -> Any:
        """Older files name the network in a word, and state the scale once more: it must agree."""
        if not isinstance(body, Mapping):
            return body
        body = dict(body)
        if {"scale", "domain", "sampling"} <= set(body):
            sampling_of(str(body["domain"]), body, "encoder")
            del body["scale"]
        if "architecture" in body:
            kind, _, name = str(body.pop("architecture")).partition(":")
            body.setdefault("network", {"kind": kind, "name": name})
        return body

    @computed_field  # type: ignore[prop-decorator]
    @property
    def architecture(self) -> str:
        """``timm:NAME`` or ``colour``."""
        return self.network.architecture

    def cut(self, where: str) -> Sampling:
        """How images must be cut for it.

        Raises:
            UsageError: its weights are of no domain.
            ConfigError: no sampling of its domain.
        """
        if not self.domain:
            raise UsageError(
                f"{where}: its weights are from elsewhere, and say nothing of how images are cut; "
                "give a run or a package that was made with it"
            )
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
        told = f"{self.info.network!r} {self.info.normalisation!r} "
        weights = digest_tensors(self.module.state_dict())
        return hashlib.blake2b((told + weights).encode(), digest_size=16).hexdigest()


def save_encoder(folder: Path, module: nn.Module, info: EncoderInfo, seen: frozenset[str]) -> None:
    """Write an encoder; ``encoder.json`` comes last."""
    save_tensors(folder / "encoder.safetensors", module.state_dict())
    write_seen(folder, seen)
    write_json(folder / "encoder.json", *ENCODER, info.model_dump(mode="json"))


def load_encoder(folder: Path) -> LoadedEncoder:
    """Load what :func:`save_encoder` wrote."""
    body = read_json(folder / "encoder.json", *ENCODER)
    fields = {key: value for key, value in body.items() if key not in {"format", "version"}}
    info = build(EncoderInfo, fields, str(folder / "encoder.json"))
    module = rebuilt(info.network, info.normalisation, info.dim)
    load_weights(module, load_tensors(folder / "encoder.safetensors"), str(folder))
    return LoadedEncoder(cast(Encoder, module.eval()), info, read_seen(folder))
