"""The model package: a folder that holds all that prediction needs, verified before use.

``package.json`` (encoder, heads, evaluation), ``model.safetensors``, ``seen.parquet``,
``draws.parquet``, ``MODEL_CARD.md`` and ``SHA256SUMS`` over the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from histoscope.core.config import build
from histoscope.core.contracts import Task
from histoscope.core.data.units import read_seen, write_seen
from histoscope.core.encoders.contract import Encoder
from histoscope.core.encoders.folder import LoadedEncoder
from histoscope.core.encoders.making import rebuilt
from histoscope.core.errors import DataError
from histoscope.core.files import (
    json_bytes,
    read_json,
    sha256_of,
    write_bytes,
    write_table,
    write_text,
)
from histoscope.core.heads import HEADS
from histoscope.core.heads.contract import Head
from histoscope.core.packages.card import model_card
from histoscope.core.packages.info import HeadInfo, PackageInfo
from histoscope.core.packages.layers import lighter
from histoscope.core.tensors import load_tensors, load_weights, save_tensors, tensor_names

PACKAGE = ("histoscope.package", 4)
DRAWS = ("histoscope.draws", 2)
SUMS = "SHA256SUMS"
FILES = ("MODEL_CARD.md", "draws.parquet", "model.safetensors", "package.json", "seen.parquet")
DRAWN = pa.schema(
    [
        ("task", pa.string()),
        ("draw", pa.int64()),
        ("sample", pa.string()),
        ("source", pa.string()),
    ]
)


@dataclass(frozen=True)
class Package:
    """An opened package; weights are read when they are used.

    Attributes:
        folder: where it lies.
        info: what it says of itself.
        seen: digests of the units it was trained on.
        draws: how many draws of labels it was made of.
        encoders: how many encoders it holds: one a draw, or a single one that all draws share.
    """

    folder: Path
    info: PackageInfo
    seen: frozenset[str]
    draws: int
    encoders: int

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its weights, which tells it from any other."""
        return sha256_of(self._weights)

    @property
    def _weights(self) -> Path:
        return self.folder / "model.safetensors"

    @property
    def tasks(self) -> list[Task]:
        """The tasks of its heads."""
        return [head.asked_task for head in self.info.heads]

    def encoder(self, draw: int = 0) -> LoadedEncoder:
        """Load the encoder of a draw. Raises DataError: its weights do not fit."""
        about, place = self.info.encoder, draw if self.encoders > 1 else 0
        module = rebuilt(about.network, about.normalisation, about.dim)
        tensors = load_tensors(self._weights, f"encoder.{place}.")
        load_weights(module, tensors, str(self.folder))
        return LoadedEncoder(cast(Encoder, module.eval()), about, self.seen)

    def head(self, place: int, draw: int = 0) -> Head:
        """Load the head of a task, by its place in ``info.heads``, and draw.

        Raises:
            DataError: it is not of the kind and shape that ``package.json`` states.
            UsageError: a kind of head that is not installed.
        """
        about = self.info.heads[place]
        tensors = load_tensors(self._weights, f"head.{draw}.{place}.")
        cut = None if about.thresholds is None else np.array(about.thresholds[draw], np.float32)
        kind = about.kind or ("neighbours" if "truth" in tensors else "linear")  # older: not said
        part = {name: _plain(value) for name, value in tensors.items()}
        try:
            head: Head = HEADS.load(kind).of(part, about.asked_task, self.info.encoder.dim, cut)
        except ValueError as fault:
            raise DataError(
                f"{self.folder}: the heads in model.safetensors are not those of package.json "
                f"({fault})"
            ) from None
        if head.level != about.level:
            raise DataError(
                f"{self.folder}: package.json states a head of a {about.level}, {kind!r} is one of "
                f"a {head.level}"
            )
        return head

    def first_draw(self) -> tuple[LoadedEncoder, list[Head]]:
        """What predicts: the encoder and each task's head of the first draw; errors as above.

        Of layers the encoder gives only those that these heads read.
        """
        return lighter(self.encoder(), [self.head(place) for place in range(len(self.info.heads))])


def write_package(
    folder: Path,
    info: PackageInfo,
    encoders: Sequence[LoadedEncoder],
    heads: Sequence[Sequence[Head]],
    seen: frozenset[str],
    drawn: pa.Table,
) -> None:
    """Write a package; ``SHA256SUMS`` comes last.

    Args:
        folder: where.
        info: what it says of itself.
        encoders: one a draw, or one.
        heads: for each task, as ``info.heads`` has them, one a draw.
        seen: digests of the units it was trained on.
        drawn: which samples or sources each draw saw, in the columns of ``DRAWN``.
    """
    tensors: dict[str, Tensor] = {}
    for draw, loaded in enumerate(encoders):
        for name, value in loaded.module.state_dict().items():
            tensors[f"encoder.{draw}.{name}"] = value
    for place, fitted in enumerate(heads):
        for draw, head in enumerate(fitted):
            for name, values in head.tensors().items():
                tensors[f"head.{draw}.{place}.{name}"] = torch.from_numpy(values.copy())
    save_tensors(folder / "model.safetensors", tensors)
    write_seen(folder, seen)
    write_table(folder / "draws.parquet", *DRAWS, drawn)
    _write_words(folder, info)


def _write_words(folder: Path, info: PackageInfo) -> None:
    """Write what a package says of itself; at every moment it is one, of the old or new words.

    ``SHA256SUMS.next`` stands there first, and :func:`verify` takes either, so that a call that is
    cut off between two files leaves a package.
    """
    body = info.model_dump(mode="json")
    words = {
        "MODEL_CARD.md": model_card(body).encode("utf-8"),
        "package.json": json_bytes(*PACKAGE, body),
    }
    sums = {name: sha256(data).hexdigest() for name, data in words.items()}
    sums |= {name: sha256_of(folder / name) for name in FILES if name not in words}
    following = folder / f"{SUMS}.next"
    write_text(following, "".join(f"{sums[name]}  {name}\n" for name in FILES))
    for name, data in words.items():
        write_bytes(folder / name, data)
    following.replace(folder / SUMS)


def record_evaluation(package: Package, evaluations: Mapping[str, Mapping[str, Any]]) -> None:
    """Write summaries of an evaluation, by task, into a package's heads."""
    heads = [
        head.model_copy(update={"evaluation": dict(evaluations[head.task])})
        if head.task in evaluations
        else head
        for head in package.info.heads
    ]
    _write_words(package.folder, package.info.model_copy(update={"heads": heads}))


def verify(folder: Path) -> None:
    """Compare every file with ``SHA256SUMS``.

    Raises:
        DataError: not a package, a file is missing, was changed, or is not listed.
    """
    if not (folder / SUMS).is_file():
        raise DataError(f"{folder}: no model package here ({SUMS} is missing)")
    listed = _listed(folder / SUMS)
    following = folder / f"{SUMS}.next"  # left where the writing of an evaluation was cut off
    changing = _listed(following) if following.is_file() else {}
    for name, digest in listed.items():
        file = folder / name
        if "/" in name or not file.is_file():
            raise DataError(f"{folder}: {name} is listed in {SUMS} but missing")
        if sha256_of(file) not in (digest, changing.get(name)):
            raise DataError(f"{folder}: {name} was changed after the package was made")
    for needed in FILES:
        if needed not in listed:
            raise DataError(
                f"{folder}: {SUMS} does not list {needed}; one of an older histoscope must be made "
                "anew with finetune"
            )


def _listed(file: Path) -> dict[str, str]:
    """Digest by file name."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{file.parent}: {file.name} is damaged; copy the package again") from None
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def open_package(folder: Path) -> Package:
    """Verify a package and see what it holds; no weights are read into memory.

    Raises:
        DataError: see :func:`verify`; also a newer format, or tensors that no package has.
    """
    if folder.is_file():
        raise DataError(f"{folder}: a file is no model package; give the package's folder")
    verify(folder)
    body = read_json(folder / "package.json", *PACKAGE)
    fields = {key: value for key, value in body.items() if key not in {"format", "version"}}
    info = build(PackageInfo, fields, str(folder / "package.json"))
    draws = len(info.heads[0].labels)
    for head in info.heads:
        _check_head(head, draws, folder)
    encoders = set[str]()
    for key in tensor_names(folder / "model.safetensors"):
        part, _, rest = key.partition(".")
        draw, dot, _ = rest.partition(".")
        if part not in ("encoder", "head") or not dot or not draw.isdecimal():
            raise DataError(f"{folder}: model.safetensors holds {key!r}, which no package does")
        if part == "encoder":
            encoders.add(draw)
    return Package(folder, info, read_seen(folder), draws, max(1, len(encoders)))


def _check_head(head: HeadInfo, draws: int, folder: Path) -> None:
    """See that what a head says of itself agrees."""
    cuts, classes, names = head.thresholds, len(head.classes), {one.name for one in head.classes}
    if len(head.labels) != draws:
        raise DataError(f"{folder}: package.json has heads of {draws} and {len(head.labels)} draws")
    if cuts is not None and len(cuts) != draws:
        raise DataError(f"{folder}: package.json has thresholds of {len(cuts)} draws")
    if head.untold is not None and (
        len(head.untold) != draws or not names.issuperset(chain.from_iterable(head.untold))
    ):
        raise DataError(f"{folder}: package.json has other draws or classes in 'untold'")
    for cut in cuts or ():
        if len(cut) != classes:
            raise DataError(
                f"{folder}: package.json has {len(cut)} thresholds of {classes} classes"
            )


def _plain(value: Tensor) -> NDArray[Any]:
    """As NumPy has it, which knows no bfloat16."""
    return np.asarray((value.float() if value.is_floating_point() else value).numpy())
