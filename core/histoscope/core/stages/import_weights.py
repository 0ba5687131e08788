"""Weights of a checkpoint from elsewhere, once, into the folder of an encoder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from histoscope.core import __version__
from histoscope.core.contracts import Scalar
from histoscope.core.encoders.checkpoint import Checkpoint, read_checkpoint
from histoscope.core.encoders.folder import ENCODER, EncoderInfo, save_encoder
from histoscope.core.encoders.making import fitting, random_encoder
from histoscope.core.encoders.matching import Match, leaf, match, some
from histoscope.core.encoders.pixels import Normalisation
from histoscope.core.encoders.timm import TimmSpec, native_size, said_of
from histoscope.core.errors import DataError, UsageError, near_word
from histoscope.core.files import sha256_of
from histoscope.core.work.folder import OutFolder

LEFT = ["encoder.safetensors", "seen.parquet"]


@dataclass(frozen=True)
class Asked:
    """What the person says of a checkpoint.

    Attributes:
        architecture: ``timm:NAME``.
        key: dotted name below which the network lies; None: found.
        partial: leave what the file lacks at random weights of seed 0.
        normalisation: of the images; None: what timm says of the architecture.
        input_px: side of the images that positions are for; None: the architecture's own.
        note: to keep with the weights, as their licence.
    """

    architecture: str
    key: str | None = None
    partial: bool = False
    normalisation: Normalisation | None = None
    input_px: int | None = None
    note: str = ""


def import_weights(path: Path, asked: Asked, out: Path) -> tuple[EncoderInfo, list[str]]:
    """Convert a checkpoint into the folder of an encoder that knows no scale.

    Args:
        path: of the file; a pickled one is read in another process, tensors only.
        asked: what the person says of it.
        out: the folder, absent or empty, or what a call that was cut off left in it.

    Returns:
        What was written, and lines for the person: what matched, was left over and is missing.

    Raises:
        UsageError: no such file or architecture, or the file holds several networks that fit.
        DataError: the file is damaged, would run code, or does not cover the network.
    """
    OutFolder(out, ENCODER, closing="encoder.json", left=LEFT, first=LEFT[0]).take()
    encoder = _new(asked)
    file = read_checkpoint(path)
    network = encoder.network.state_dict()
    found = match(network, file, asked.key, str(path))
    _check_covered(found, network, file, asked, encoder, path)
    _load(encoder, found, file, path)
    normalisation = asked.normalisation or said_of(encoder.network)
    provenance: dict[str, Scalar] = {
        "kind": "imported",
        "file": sha256_of(path),
        "key": found.place,
        "matched": len(found.taken),
        "in_order": found.in_order,
        "partial": bool(found.missing),
        "missing": len(found.missing),
        "normalisation": "given" if asked.normalisation else "timm",
        "program": __version__,
        **({"note": asked.note} if asked.note else {}),
    }
    info = EncoderInfo(
        network=encoder.spec, dim=encoder.dim, normalisation=normalisation, provenance=provenance
    )
    save_encoder(out, encoder, info, frozenset())
    return info, _told(found, encoder, normalisation, asked)


def _new(asked: Asked) -> Any:
    """The network with random weights of seed 0, for the size that the file is of."""
    kind, _, name = asked.architecture.partition(":")
    if kind != "timm" or not name:
        near = near_word(kind, ["timm"]) if name else ""
        raise UsageError(f"--architecture {asked.architecture}: expected timm:NAME{near}")
    spec = TimmSpec(name=name)
    own_px, fixed = native_size(spec)
    size_px = asked.input_px or own_px
    if asked.input_px is None and not fixed:
        return random_encoder(spec, size_px, 0)
    try:
        return random_encoder(spec.model_copy(update={"input_px": size_px}), size_px, 0)
    except UsageError:
        if asked.input_px is not None:
            raise
        return random_encoder(spec, size_px, 0)  # takes its own size only, and is not asked for it


def _check_covered(
    found: Match,
    network: Mapping[str, torch.Tensor],
    file: Checkpoint,
    asked: Asked,
    encoder: Any,
    path: Path,
) -> None:
    """Refuse a file that is of another network, and without ``partial`` one that lacks anything."""
    if not found.taken:
        order = "" if file.ordered else "; a safetensors file keeps no order, so names must agree"
        raise DataError(
            f"{path}: nothing in it fits {asked.architecture}, by name or in order (its tensors: "
            f"{some(list(file.tensors), 3)}; the network's: {some(list(network), 3)}){order}"
        )
    if found.missing and not asked.partial:
        raise DataError(
            f"{path}: covers {len(found.taken)} of {len(network)} tensors of {asked.architecture}"
            f"{_under(found)}; missing: {_missing(found)}{_size_hint(found, encoder)}; give "
            "another --architecture or --key, or --partial to leave these at random weights"
        )


def _size_hint(found: Match, encoder: Any) -> str:
    """``; --input-px 64 ...`` where position embeddings are of another grid."""
    made, prefix = encoder.spec.input_px, int(getattr(encoder.network, "num_prefix_tokens", 0))
    for name, (ours, theirs) in found.shapes.items():
        if leaf(name) != "pos_embed" or made is None or len(ours) != 3 or len(theirs) != 3:
            continue
        for extra in (prefix, 0):  # some networks give no position to a class token
            grid, other = math.isqrt(ours[1] - extra), math.isqrt(theirs[1] - extra)
            if grid**2 == ours[1] - extra and other**2 == theirs[1] - extra and made % grid == 0:
                return (
                    f"; its positions are of images of {other * made // grid} px: give "
                    f"--input-px {other * made // grid}"
                )
    return ""


def _load(encoder: Any, found: Match, file: Checkpoint, path: Path) -> None:
    """Put the weights into the network, in its own precision; see that it works with them."""
    weights = {name: file.tensors[other] for name, other in found.taken.items()}
    bad = [found.taken[name] for name, value in weights.items() if not value.isfinite().all()]
    if bad:
        raise DataError(f"{path}: not all numbers are finite: {some(bad)}")
    encoder.network.load_state_dict(weights, strict=False)
    size_px = encoder.spec.input_px or native_size(encoder.spec)[0]
    fitting(encoder.spec, size_px, lambda _: encoder)


def _told(found: Match, encoder: Any, normalisation: Normalisation, asked: Asked) -> list[str]:
    parameters = dict(encoder.network.named_parameters())
    count = sum(parameters[name].numel() for name in found.taken if name in parameters)
    total = sum(value.numel() for value in parameters.values())
    tensors = len(encoder.network.state_dict())
    lines = [
        f"matched: {len(found.taken)} of {tensors} tensors, {count:,} of {total:,} parameters"
        + _under(found)
    ]
    if found.in_order:
        lines.append(
            "the names differ altogether: the tensors were taken in order, as shapes and kinds "
            "agree one by one; variants of a network that differ in padding or in the epsilon of "
            "batch norm have the same shapes: check what it gives against what its source says"
        )
    lines.append(f"left over in the file: {some(found.left) or 'nothing'}")
    lines.append(f"missing in the file: {_missing(found) or 'nothing'}")
    if found.missing:
        lines.append(f"these {len(found.missing)} stay at random weights of seed 0")
    numbers = "; ".join(
        f"{name} {', '.join(f'{value:g}' for value in values)}"
        for name, values in (("mean", normalisation.mean), ("deviation", normalisation.std))
    )
    source = "as given" if asked.normalisation else f"as timm says of {asked.architecture}"
    return [*lines, f"normalisation: {numbers} ({source})"]


def _missing(found: Match) -> str:
    """Names that are missing, those of another shape with both."""
    return some([_named(name, found.shapes.get(name)) for name in found.missing])


def _named(name: str, shapes: tuple[Sequence[int], Sequence[int]] | None) -> str:
    if shapes is None:
        return name
    ours, theirs = (" x ".join(map(str, shape)) or "one number" for shape in shapes)
    return f"{name} ({ours} in the network, {theirs} in the file)"


def _under(found: Match) -> str:
    return f", below {found.place!r}" if found.place else ""
