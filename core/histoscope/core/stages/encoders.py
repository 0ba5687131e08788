"""The encoder that a word of the command line names."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from histoscope.core.contracts import Scalar
from histoscope.core.data.given import GivenStore
from histoscope.core.data.store import Store
from histoscope.core.encoders.colour import ColourEncoder
from histoscope.core.encoders.contract import Encoder, EncoderSpec
from histoscope.core.encoders.folder import EncoderInfo, LoadedEncoder, load_encoder
from histoscope.core.encoders.layers import plain
from histoscope.core.encoders.making import (
    fitting,
    pretrained_encoder,
    random_encoder,
    resampled_encoder,
)
from histoscope.core.encoders.timm import native_size
from histoscope.core.errors import DataError, UsageError
from histoscope.core.packages.package import open_package
from histoscope.core.progress import Progress, Silent
from histoscope.core.stages.given import check_given, encoder_info, encoder_of, is_given

SMALL = 2 / 3  # of the usual side, below which images are small for a network
FOLDERS = "a run's or a package's folder, or what import-weights made"
FORMS = f"{FOLDERS}, timm:NAME, random:NAME or colour"


def open_encoder(
    word: str,
    store: Store,
    seed: int,
    progress: Progress | None = None,
    *,
    size_px: int | None = None,
) -> LoadedEncoder:
    """The encoder that a word of the command line names; of features that were given, theirs.

    Args:
        word: the folder of a run, a package or imported weights, ``timm:NAME``, ``random:NAME``
            (also of such a folder: the same network with new weights) or ``colour``.
        store: what it will read; a folder's encoder must have the same scale, where it knows one.
        seed: for ``random:NAME``.
        progress: who is told how weights from elsewhere were fitted to the store.
        size_px: side of the images that it is made for, where that can be chosen; default: that of
            the store's.

    Raises:
        UsageError: none of these, or a single weight file.
        DataError: damaged, or of another scale.
    """
    if isinstance(store, GivenStore):
        return encoder_of(store)
    kind, _, name = word.partition(":")
    size_px = size_px or store.sampling.size_px
    provenance = dict[str, Scalar](kind=kind, seed=seed)
    encoder: Any
    if kind == "random" and name:
        like = Path(name)  # the network of a folder, or one by its name
        spec = (
            open_folder(like, FORMS).info.network
            if like.is_dir()
            else EncoderSpec.model_validate(name)
        )
        encoder = random_encoder(spec, size_px, seed)
    elif kind == "timm" and name:
        encoder = pretrained_encoder(name, size_px)
        if why := _too_small_for(encoder.spec, None, size_px):
            (progress or Silent()).say(f"{word}: {why}")
    elif word == "colour":
        encoder, provenance = ColourEncoder(), {"kind": kind}
    else:
        loaded = open_folder(Path(word), FORMS)
        if not loaded.info.domain:
            return _taken_in(loaded, store, size_px, word, progress or Silent())
        check_fits(loaded.info, store, word)
        return loaded
    return LoadedEncoder(encoder.eval(), info_of(encoder, store, provenance), frozenset())


def _taken_in(
    loaded: LoadedEncoder, store: Store, size_px: int, word: str, progress: Progress
) -> LoadedEncoder:
    """Weights from elsewhere, which know no scale, for the images of a store; made for a side.

    Raises:
        UsageError: they cannot be made for images of this side.
    """
    made: Any = loaded.encoder
    provenance = dict(loaded.info.provenance)
    native_px = made.spec.input_px
    scale = ", ".join(f"{name} {value:g}" for name, value in store.sampling.scale().items())
    said = f"{word}: weights from elsewhere, of no scale; they take {size_px} px at {scale}"
    if native_px in (None, size_px):
        made = fitting(made.spec, size_px, lambda _: loaded.encoder)
    else:
        made = resampled_encoder(made, size_px)
        provenance["resampled_from_px"] = native_px
        said += f"; made for {native_px} px: positions are resampled, all else is unchanged"
    why = _too_small_for(made.spec, native_px, size_px)
    progress.say(f"{said}; {why}" if why else said)
    return LoadedEncoder(
        cast(Encoder, made.eval()), info_of(made, store, provenance), frozenset(loaded.seen)
    )


def _too_small_for(spec: EncoderSpec, native_px: int | None, size_px: int) -> str:
    """A warning where images are far smaller than those that a network is made for, else empty.

    Args:
        spec: of the network.
        native_px: side of the images that its weights are made for, where they say so; else what
            timm says of its own.
        size_px: side of the images that it gets.
    """
    usual_px = native_px or (native_size(spec)[0] if spec.kind == "timm" else 0)
    if size_px >= SMALL * usual_px:
        return ""
    return (
        f"{spec.name} is made for images of {usual_px} px, and may tell much less of smaller ones; "
        f"prepare can make larger ones, --size-px {usual_px}"
    )


def info_of(encoder: Any, store: Store, provenance: dict[str, Scalar]) -> EncoderInfo:
    """What must be known to use an encoder on images cut as those of a store."""
    return EncoderInfo(
        network=encoder.spec,
        dim=encoder.dim,
        normalisation=encoder.normalisation,
        domain=store.domain,
        sampling=store.about["sampling"],
        provenance=provenance,
    )


def open_folder(folder: Path, wanted: str = FOLDERS) -> LoadedEncoder:
    """The encoder of a run's or a package's folder; of one that gives layers, the network alone.

    Args:
        folder: of the run or package.
        wanted: what the person could have given, for the message.

    Raises:
        UsageError: neither, a single weight file, or a package of features from elsewhere.
    """
    if folder.is_file():
        raise UsageError(
            f"{folder}: a file is no encoder (pickled weights are never loaded; 'import-weights' "
            f"makes one of a checkpoint); give {wanted}"
        )
    if (folder / "package.json").is_file():
        loaded = open_package(folder).encoder()
        if is_given(loaded.info):
            raise UsageError(
                f"{folder}: made from features of {loaded.info.network.name}, and has no encoder; "
                f"give {wanted}"
            )
        return plain(loaded)
    if (folder / "encoder.json").is_file():
        return load_encoder(folder)
    raise UsageError(f"{folder}: no encoder here; give {wanted}")


def _said(name: str, value: object) -> str:
    """How the command line is told a value: ``with --size-px 64``, ``without --halving``."""
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return f"{'with' if value else 'without'} {flag}"
    return f"with {flag} {value}"


def check_fits(info: EncoderInfo, store: Store, where: str) -> None:
    """Refuse a store of another domain, scale, size or colour; nothing is changed in silence.

    Raises:
        DataError: naming both figures.
        UsageError: images for a package of features, or the other way about.
    """
    if isinstance(store, GivenStore):
        check_given(info, encoder_info(store.domain, store.given), where, str(store.path))
        return
    if is_given(info):
        raise UsageError(
            f"{where}: made from features of {info.network.name}; give --features in place of a "
            "store"
        )
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
                f"prepare the data {_said(name, ours)}"
            )
