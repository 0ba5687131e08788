"""The model package: a folder that holds all that prediction needs, verified before use.

``package.json`` (encoder, heads, evaluation), ``model.safetensors``, ``seen.parquet``,
``MODEL_CARD.md`` and ``SHA256SUMS`` over the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from histoscope.core import __version__
from histoscope.core.config import Spec, build
from histoscope.core.contracts import Encoder, Scalar, Task
from histoscope.core.encoders.folder import (
    EncoderInfo,
    LoadedEncoder,
    encode_batch,
    load_tensors,
    load_weights,
    make_module,
    read_seen,
    save_tensors,
    write_seen,
)
from histoscope.core.errors import DataError
from histoscope.core.files import read_json, sha256_of, write_json, write_text
from histoscope.core.labels.probe import LinearHead
from histoscope.core.packages.card import model_card

PACKAGE = ("histoscope.package", 1)
SUMS = "SHA256SUMS"
# Okabe and Ito's colours, told apart by colour-blind readers; then darker ones
PALETTE = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#f0e442"),
    *("#7f3c8d", "#3969ac", "#80ba5a", "#8c564b", "#666666"),
)


class ClassInfo(Spec):
    """One class of a head."""

    id: int
    name: str
    colour: str


class HeadInfo(Spec):
    """What a head answers, how it was made, and how good it is known to be.

    Attributes:
        task, level, classes: the question.
        method: ``probe`` or ``full``.
        labels: labels of each draw.
        fraction, draw_by, seed: how they were drawn.
        calibration: ``{"kind": "none", "reason": ...}`` until there is one.
        evaluation: summary of the last recorded evaluation on held-out cases, or None.
    """

    task: str
    level: str
    classes: Sequence[ClassInfo]
    method: str
    labels: Sequence[int]
    fraction: float
    draw_by: str
    seed: int
    calibration: Mapping[str, Scalar]
    evaluation: Mapping[str, Any] | None = None


class PackageInfo(Spec):
    """The body of ``package.json``."""

    encoder: EncoderInfo
    heads: Sequence[HeadInfo] = Field(min_length=1)
    program: str = __version__


@dataclass(frozen=True)
class Package:
    """An opened package.

    Attributes:
        folder: where it lies.
        info: what it says of itself.
        encoders: one a draw, or a single one that all draws share (probe).
        heads: one a draw.
        seen: digests of the units it was trained on.
    """

    folder: Path
    info: PackageInfo
    encoders: Sequence[LoadedEncoder]
    heads: Sequence[LinearHead]
    seen: frozenset[str]

    @property
    def head_info(self) -> HeadInfo:
        """The head's description (a package holds one)."""
        return self.info.heads[0]

    @property
    def task(self) -> Task:
        """The head's task."""
        names = tuple(kind.name for kind in self.head_info.classes)
        return Task(self.head_info.task, names)

    def encoder(self, draw: int = 0) -> LoadedEncoder:
        """The encoder of a draw."""
        return self.encoders[draw if len(self.encoders) > 1 else 0]

    def probabilities(self, images: NDArray[np.uint8], draw: int = 0) -> NDArray[np.float32]:
        """uint8 (batch, height, width, 3) to (batch, classes)."""
        features = encode_batch(self.encoder(draw), torch.from_numpy(images)).numpy()
        return self.heads[draw].probabilities(features)


def write_package(
    folder: Path,
    info: PackageInfo,
    encoders: Sequence[LoadedEncoder],
    heads: Sequence[LinearHead],
    seen: frozenset[str],
) -> None:
    """Write a package; ``SHA256SUMS`` comes last."""
    tensors: dict[str, Tensor] = {}
    for draw, loaded in enumerate(encoders):
        for name, value in loaded.module.state_dict().items():
            tensors[f"encoder.{draw}.{name}"] = value
    for draw, head in enumerate(heads):
        tensors[f"head.{draw}.weight"] = torch.from_numpy(head.weight)
        tensors[f"head.{draw}.bias"] = torch.from_numpy(head.bias)
    save_tensors(folder / "model.safetensors", tensors)
    write_seen(folder, seen)
    _write_words(folder, info)


def _write_words(folder: Path, info: PackageInfo) -> None:
    write_json(folder / "package.json", *PACKAGE, info.model_dump(mode="json"))
    write_text(folder / "MODEL_CARD.md", model_card(info.model_dump(mode="json")))
    files = ["MODEL_CARD.md", "model.safetensors", "package.json", "seen.parquet"]
    write_text(folder / SUMS, "".join(f"{sha256_of(folder / f)}  {f}\n" for f in files))


def record_evaluation(package: Package, evaluation: Mapping[str, Any]) -> None:
    """Write an evaluation's summary into a package's only head."""
    head = package.head_info.model_copy(update={"evaluation": dict(evaluation)})
    _write_words(package.folder, package.info.model_copy(update={"heads": [head]}))


def verify(folder: Path) -> None:
    """Compare every file with ``SHA256SUMS``.

    Raises:
        DataError: not a package, a file is missing, was changed, or is not listed.
    """
    if not (folder / SUMS).is_file():
        raise DataError(f"{folder}: no model package here ({SUMS} is missing)")
    listed = dict[str, str]()
    for line in (folder / SUMS).read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        listed[name] = digest
    for name, digest in listed.items():
        file = folder / name
        if "/" in name or not file.is_file():
            raise DataError(f"{folder}: {name} is listed in {SUMS} but missing")
        if sha256_of(file) != digest:
            raise DataError(f"{folder}: {name} was changed after the package was made")
    for needed in ("model.safetensors", "package.json", "seen.parquet"):
        if needed not in listed:
            raise DataError(f"{folder}: {SUMS} does not list {needed}")


def open_package(folder: Path) -> Package:
    """Verify and load a package.

    Raises:
        DataError: see :func:`verify`; also a newer format, or weights that do not fit.
    """
    if folder.is_file():
        raise DataError(f"{folder}: a file is no model package; give the package's folder")
    verify(folder)
    body = read_json(folder / "package.json", *PACKAGE)
    fields = {key: value for key, value in body.items() if key not in {"format", "version"}}
    info = build(PackageInfo, fields, str(folder / "package.json"))
    tensors = load_tensors(folder / "model.safetensors")
    seen = read_seen(folder)
    groups = _groups(tensors)
    encoders = []
    for draw in range(max(1, len(groups.get("encoder", {})))):
        module = make_module(info.encoder.architecture)
        load_weights(module, groups.get("encoder", {}).get(draw, {}), str(folder))
        encoders.append(LoadedEncoder(cast(Encoder, module.eval()), info.encoder, seen))
    heads = [
        LinearHead(group["weight"].numpy(), group["bias"].numpy())
        for _, group in sorted(groups["head"].items())
    ]
    return Package(folder, info, encoders, heads, seen)


def _groups(tensors: Mapping[str, Tensor]) -> dict[str, dict[int, dict[str, Tensor]]]:
    """``part.draw.name`` to part, draw, name."""
    out: dict[str, dict[int, dict[str, Tensor]]] = {}
    for key, value in tensors.items():
        part, draw, name = key.split(".", 2)
        out.setdefault(part, {}).setdefault(int(draw), {})[name] = value
    return out


def class_infos(task: Task) -> list[ClassInfo]:
    """Classes with ids and the palette's colours."""
    return [
        ClassInfo(id=place, name=name, colour=PALETTE[place % len(PALETTE)])
        for place, name in enumerate(task.classes)
    ]


def tuned(loaded: LoadedEncoder, module: Any) -> LoadedEncoder:
    """The same encoder with other weights."""
    return replace(loaded, encoder=cast(Encoder, module))
