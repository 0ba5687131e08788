"""The encoder that a word of the command line names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from histoscope.core.contracts import Scalar
from histoscope.core.data.store import Store
from histoscope.core.encoders.colour import ColourEncoder
from histoscope.core.encoders.contract import EncoderSpec
from histoscope.core.encoders.folder import EncoderInfo, LoadedEncoder, load_encoder
from histoscope.core.encoders.making import pretrained_encoder, random_encoder
from histoscope.core.errors import DataError, UsageError
from histoscope.core.packages.package import open_package

FOLDERS = "a run's or a package's folder"


FORMS = f"{FOLDERS}, timm:NAME, random:NAME or colour"


def open_encoder(word: str, store: Store, seed: int) -> LoadedEncoder:
    """The encoder that a word of the command line names.

    Args:
        word: a run or package folder, ``timm:NAME``, ``random:NAME`` or ``colour``.
        store: what it will read; a folder's encoder must have the same scale.
        seed: for ``random:NAME``.

    Raises:
        UsageError: none of these, or a single weight file.
        DataError: damaged, or of another scale.
    """
    kind, _, name = word.partition(":")
    if kind in {"timm", "random"} and name:
        size_px, timm_spec = store.sampling.size_px, EncoderSpec.model_validate(name)
        module = (
            random_encoder(timm_spec, size_px, seed)
            if kind == "random"
            else pretrained_encoder(name, size_px)
        )
        info = _info_of(module, store, {"kind": kind, "seed": seed})
        return LoadedEncoder(module.eval(), info, frozenset())
    if word == "colour":
        colour = ColourEncoder().eval()
        return LoadedEncoder(colour, _info_of(colour, store, {"kind": "colour"}), frozenset())
    loaded = open_folder(Path(word), FORMS)
    check_fits(loaded.info, store, word)
    return loaded


def open_folder(folder: Path, wanted: str = FOLDERS) -> LoadedEncoder:
    """The encoder of a run's or a package's folder.

    Args:
        folder: of the run or package.
        wanted: what the person could have given, for the message.

    Raises:
        UsageError: neither, or a single weight file.
    """
    if folder.is_file():
        raise UsageError(
            f"{folder}: a file is no encoder (pickled weights are never loaded); give {wanted}"
        )
    if (folder / "package.json").is_file():
        return open_package(folder).encoder()
    if (folder / "encoder.json").is_file():
        return load_encoder(folder)
    raise UsageError(f"{folder}: no encoder here; give {wanted}")


def _info_of(encoder: Any, store: Store, provenance: Mapping[str, Scalar]) -> EncoderInfo:
    return EncoderInfo(
        network=encoder.spec,
        dim=encoder.dim,
        normalisation=encoder.normalisation,
        domain=store.domain,
        sampling=store.about["sampling"],
        provenance=provenance,
    )


def check_fits(info: EncoderInfo, store: Store, where: str) -> None:
    """Refuse a store of another domain, scale, size or colour; nothing is changed in silence.

    Raises:
        DataError: naming both figures.
    """
    if info.domain != store.domain:
        raise DataError(f"{where}: made for {info.domain}, but {store.path} holds {store.domain}")
    made, prepared = info.cut(where), store.sampling
    for name, value in made.scale().items():
        found = prepared.scale().get(name, float("nan"))
        if not abs(found - value) <= 0.01 * value:
            raise DataError(
                f"{where}: made at {name} {value:g}, but {store.path} is at {name} {found:g}; "
                "prepare the data at the same scale"
            )
    if made.size_px != prepared.size_px:
        raise DataError(
            f"{where}: takes images of {made.size_px} px, but {store.path} holds "
            f"{prepared.size_px} px; prepare the data with --size-px {made.size_px}"
        )
    for name in made.alike:
        ours, theirs = getattr(made, name), getattr(prepared, name)
        if ours != theirs:
            raise DataError(
                f"{where}: made with {name} {ours}, but {store.path} with {theirs}; "
                f"prepare the data with --{name.replace('_', '-')} {ours}"
            )
