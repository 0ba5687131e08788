"""Encoders made: with new weights, timm's, or those of a file; measured, never believed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from histoscope.core.encoders import ENCODERS
from histoscope.core.encoders.contract import EncoderSpec
from histoscope.core.encoders.pixels import Normalisation
from histoscope.core.encoders.timm import TimmEncoder, TimmSpec
from histoscope.core.errors import UsageError

Make = Callable[[EncoderSpec], Any]


def random_encoder(spec: EncoderSpec, size_px: int | Sequence[int], seed: int) -> Any:
    """Weights drawn under ``seed``; torch's global generator is untouched. See :func:`fitting`."""
    return fitting(spec, size_px, _under(seed, lambda one: ENCODERS.load(one.kind)(one)))


def pretrained_encoder(name: str, size_px: int) -> Any:
    """A timm network with the weights that timm downloads. See :func:`fitting`."""
    return fitting(TimmSpec(name=name), size_px, lambda one: TimmEncoder(one, pretrained=True))


def resampled_encoder(encoder: Any, size_px: int) -> Any:
    """An encoder with fixed positions made anew for another size; timm resamples the positions.

    Everything else must be untouched and nothing left at random weights, which is checked: what has
    the shape it had is compared with what it was, what has not with a network of the same seed.

    Args:
        encoder: with weights; stays as it is.
        size_px: side of the images.

    Raises:
        UsageError: it cannot be made for that size, or its positions cannot be resampled.
    """
    if not isinstance(encoder, TimmEncoder):
        raise UsageError(f"encoder {encoder.spec.architecture}: cannot be made for {size_px} px")
    before = encoder.state_dict()
    weights, normalisation = encoder.network.state_dict(), encoder.normalisation
    spec = encoder.spec.model_copy(update={"input_px": size_px})

    def make(one: EncoderSpec) -> Any:
        with warnings.catch_warnings():  # of how timm interpolates: its speed, its old indexing
            warnings.simplefilter("ignore")
            return TimmEncoder(one, normalisation, weights=weights)

    made = fitting(spec, size_px, _under(0, make))
    random = random_encoder(spec, size_px, 0).state_dict()
    for name, value in made.state_dict().items():
        kept = name in before and before[name].shape == value.shape
        wrong = not torch.equal(value, before[name]) if kept else torch.equal(value, random[name])
        if wrong:
            raise UsageError(
                f"encoder {spec.architecture}: cannot be made for {size_px} px with its weights: "
                f"timm does not resample {name.removeprefix('network.')}"
            )
    return made


def _under(seed: int, make: Make) -> Make:
    """Make under a seed, torch's global generator untouched."""

    def drawn(one: EncoderSpec) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return make(one)

    return drawn


def rebuilt(spec: EncoderSpec, normalisation: Normalisation, dim: int) -> nn.Module:
    """The network that a file describes, its weights not yet loaded."""
    made: Any = ENCODERS.load(spec.kind)(spec, normalisation)
    made.dim = dim
    module: nn.Module = made
    return module


def fitting(spec: EncoderSpec, size_px: int | Sequence[int], make: Make) -> Any:
    """An encoder for images of this side, its width measured.

    One that takes other sizes only, as a transformer with fixed positions, is made for this one;
    its ``spec`` says so then.

    Args:
        spec: as asked.
        size_px: side of the images; of several it is made for the first, and takes the others.
        make: of the settings.

    Raises:
        UsageError: it takes no such images, or gives no finite row of features for each.
    """
    sizes = [size_px] if isinstance(size_px, int) else list(size_px)
    encoder = make(spec)
    fault = _fault(encoder, sizes)
    if fault and spec.input_px is None:
        try:
            encoder = make(spec.model_copy(update={"input_px": sizes[0]}))
        except UsageError:  # which says how it could not be made, not why it had to be
            raise UsageError(f"encoder {spec.architecture}: {fault}") from None
    check_sizes(encoder, sizes)
    return encoder


def check_sizes(encoder: Any, sizes_px: Sequence[int]) -> None:
    """See that an encoder takes images of these sides; its width is measured at the first.

    Raises:
        UsageError: it takes no images of one of them, or gives no finite row of features for each.
    """
    fault = _fault(encoder, sizes_px)
    if fault:
        raise UsageError(f"encoder {encoder.spec.architecture}: {fault}")


def _fault(encoder: Any, sizes_px: Sequence[int]) -> str:
    for size_px in reversed(sizes_px):
        fault = _measure(encoder, size_px)
        if fault:
            return f"for images of {size_px} px: {fault}"
    return ""


@torch.no_grad()
def _measure(encoder: Any, size_px: int) -> str:
    """Set ``dim`` to the width of what it gives; what is wrong with that, if anything."""
    trains = encoder.training
    try:
        with torch.random.fork_rng(devices=[]):
            given = encoder.eval()(torch.full((2, 3, size_px, size_px), 0.5))
    except Exception as fault:  # networks refuse sizes in many ways
        said = " ".join(str(fault).split())[:160]
        return said or f"the network refuses them ({type(fault).__name__})"
    finally:
        encoder.train(trains)
    if given.ndim != 2:
        return f"its features have the shape {tuple(given.shape[1:])}, not one row an image"
    if not given.isfinite().all():
        return "its features are not finite"
    encoder.dim = given.shape[1]
    return ""
