"""Networks of the timm library as encoders: pooled features, no classifier."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from histoscope.core.encoders.blocks import heard, widths_of
from histoscope.core.encoders.contract import USUAL, EncoderSpec, Masked, Want
from histoscope.core.encoders.pixels import Normalisation, Normalise, at_least_float32
from histoscope.core.errors import DataError, UsageError, near_word


class TimmSpec(EncoderSpec):
    """A network of timm."""

    kind: Literal["timm"] = Field("timm", description="timm's networks")
    patch_px: int | None = Field(
        None, ge=2, description="side of a patch of a transformer; default: that of its name"
    )


class TimmEncoder(nn.Module):
    """A timm network without its classifier.

    Args:
        spec: its name at timm, for example ``resnet18``, the size it is made for, its pooling.
        normalisation: of its images; None: ImageNet's for new weights, else what timm says of them.
        pretrained: load the weights that timm downloads.
        weights: load these instead, a state of such a network; where it was made for another size,
            timm resamples what stands for places.

    Raises:
        UsageError: timm knows no such network, or it cannot be made like that.
        DataError: its weights cannot be had on this machine.
    """

    settings: ClassVar[type[EncoderSpec]] = TimmSpec

    def __init__(
        self,
        spec: EncoderSpec,
        normalisation: Normalisation | None = None,
        *,
        pretrained: bool = False,
        weights: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.spec, self.dim = spec, 0
        self.network = _create(TimmSpec.model_validate(spec.model_dump()), pretrained, weights)
        if normalisation is None:
            normalisation = said_of(self.network) if pretrained else Normalisation()
        self.normalisation, self._normalise = normalisation, Normalise(normalisation)

    def forward(self, images: Tensor) -> Tensor:
        """RGB in 0..1, (batch, 3, height, width), to (batch, dim), float32."""
        return at_least_float32(cast(Tensor, self.network(self._normalise(images))))

    @property
    def blocks(self) -> dict[str, int]:
        """By timm's names: stages of most networks, blocks of transformers."""
        widths = widths_of(self.network)
        return {**widths, USUAL: self.dim} if widths else {}

    def encode(self, images: Tensor, want: Want, masked: Masked | None = None) -> Tensor:
        """As the call, but also a map, tokens or blocks; some patches may be hidden."""
        with self._hiding(masked):
            if want == "pooled":
                return self.forward(images)
            if want == "blocks":
                return self._blocks_of(images)
            features: Any = self.network.forward_features(self._normalise(images))
        if not isinstance(features, Tensor) or features.ndim not in (3, 4):
            raise UsageError(f"encoder {self.spec.architecture}: has no {want}")
        if features.ndim == 3:
            return at_least_float32(features if want == "tokens" else self._map_of(features))
        if features.shape[1] != self.network.num_features:  # channels stand last
            features = features.permute(0, 3, 1, 2)
        return at_least_float32(features if want == "map" else features.flatten(2).transpose(1, 2))

    def _blocks_of(self, images: Tensor) -> Tensor:
        where = f"encoder {self.spec.architecture}"
        if not self.blocks:
            raise UsageError(f"{where}: has no blocks that timm names")
        with heard(self.network, where) as rows:
            usual = self.forward(images)
        return torch.cat([*(rows[name] for name in widths_of(self.network)), usual], dim=1)

    @contextmanager
    def _hiding(self, masked: Masked | None) -> Iterator[None]:
        """Another token stands for some patches, before places are told."""
        if masked is None:
            yield
            return
        embed = getattr(self.network, "patch_embed", None)
        if not isinstance(embed, nn.Module):
            raise UsageError(f"encoder {self.spec.architecture}: has no patches that can be masked")

        def swap(module: nn.Module, given: object, patches: Tensor) -> Tensor:
            flat = patches.reshape(len(patches), -1, patches.shape[-1])  # also of a grid
            if flat.shape[1:] != (masked.places.shape[1], len(masked.token)):
                raise UsageError(f"encoder {self.spec.architecture}: has no single grid of patches")
            hidden = torch.where(masked.places[..., None], masked.token.to(flat.dtype), flat)
            return hidden.reshape(patches.shape)

        hook = embed.register_forward_hook(swap)
        try:
            yield
        finally:
            hook.remove()

    def _map_of(self, tokens: Tensor) -> Tensor:
        """Tokens of a square image on their grid."""
        before = int(getattr(self.network, "num_prefix_tokens", 0))
        side = math.isqrt(tokens.shape[1] - before)
        if side * side != tokens.shape[1] - before:
            raise UsageError(f"encoder {self.spec.architecture}: its tokens are no square map")
        return tokens[:, before:].transpose(1, 2).reshape(len(tokens), -1, side, side)


def said_of(network: Any) -> Normalisation:
    """The normalisation that timm's ``pretrained_cfg`` states for the weights of a network."""
    said = network.pretrained_cfg
    return Normalisation(mean=tuple(said["mean"]), std=tuple(said["std"]))


def native_size(spec: EncoderSpec) -> tuple[int, bool]:
    """Side of the images that a network of timm is made for, in px, and whether it takes no other.

    Raises:
        UsageError: timm knows no such network.
    """
    import timm

    _check_name(spec.name)
    said: Any = timm.models.get_pretrained_cfg(spec.name)
    side = 224 if said is None else int(said.input_size[-1])
    return side, bool(said is not None and said.fixed_input_size)


def _check_name(name: str) -> None:
    import timm

    if not timm.is_model(name):
        raise UsageError(f"timm knows no {name!r}{near_word(name, timm.list_models())}")


def _create(spec: TimmSpec, pretrained: bool, weights: Mapping[str, Tensor] | None) -> Any:
    import timm

    _check_name(spec.name)
    told = {"global_pool": spec.pool, "patch_size": spec.patch_px}
    asked: dict[str, Any] = {name: value for name, value in told.items() if value is not None}
    if weights is not None:  # a copy, as timm takes out what it does not need
        asked["pretrained_cfg_overlay"] = {"state_dict": dict(weights)}
    sizes: list[dict[str, Any]] = [{}]
    if spec.input_px is not None:
        size: dict[str, Any] = {"img_size": spec.input_px}
        sizes = [{**size, "dynamic_img_size": True}, size]  # the first takes other crops, too
    begun, refused = torch.get_rng_state(), ""
    for size in sizes:
        torch.set_rng_state(begun)
        try:
            return timm.create_model(
                spec.name,
                pretrained=pretrained or weights is not None,
                num_classes=0,
                **asked,
                **size,
            )
        except TypeError as fault:
            refused = _line(fault)
        except Exception as fault:  # timm and its hub raise many kinds
            if not pretrained:
                raise UsageError(f"encoder timm:{spec.name}: not made: {_line(fault)}") from None
            raise DataError(
                f"timm:{spec.name}: its weights cannot be loaded here ({_line(fault)}); without "
                f"internet give a run, a package or random:{spec.name}"
            ) from fault
    raise UsageError(f"encoder timm:{spec.name}: cannot be made like that: {refused}")


def _line(fault: Exception) -> str:
    return " ".join(str(fault).split()).partition(". ")[0][:160]
