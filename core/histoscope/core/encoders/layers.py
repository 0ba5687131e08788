"""An encoder that gives what several layers of a network and of its projection head give.

Bordes et al. 2022 ("Guillotine regularization"): what is learnt without labels is often better told
from an inner layer than from the last one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, cast

import torch
from pydantic import Field, SerializeAsAny
from torch import Tensor, nn

from histoscope.core.config import Spec
from histoscope.core.encoders import ENCODERS
from histoscope.core.encoders.contract import USUAL, Encoder, EncoderSpec, Masked, Want
from histoscope.core.encoders.folder import LoadedEncoder
from histoscope.core.encoders.pixels import Normalisation, at_least_float32
from histoscope.core.errors import UsageError

HEAD = "head"  # its layers are head.1, head.2, ...
ACTS: Mapping[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU}
TRIAL = 8  # images on which a block is compared with the usual output


class LayerSpec(Spec):
    """A layer whose output stands in a row of features."""

    name: str
    width: int = Field(ge=1)


class HeadLayerSpec(Spec):
    """A linear layer of a projection head, and what follows it."""

    width: int = Field(ge=1)
    bias: bool
    norm: bool
    act: Literal["relu", "gelu"] | None


class LayersSpec(EncoderSpec):
    """A network, the projection head behind it, and which of their layers are given.

    Attributes:
        network: the settings of the network.
        usual: width of its pooled output, which the head takes.
        head: its layers.
        layers: what is given, side by side.
    """

    kind: Literal["layers"] = Field("layers", description="layers of another kind of network")
    name: Literal[""] = Field("", description="that of the network")
    input_px: None = Field(None, description="that of the network")
    pool: None = Field(None, description="that of the network")
    network: SerializeAsAny[EncoderSpec]
    usual: int = Field(ge=1)
    head: tuple[HeadLayerSpec, ...] = ()
    layers: tuple[LayerSpec, ...] = Field(min_length=1)

    @property
    def architecture(self) -> str:
        """That of the network."""
        return self.network.architecture


class LayersEncoder(nn.Module):
    """Outputs of layers side by side: blocks, the usual output, layers of the head.

    A layer of the head is told behind its batch norm and its activation.

    Args:
        spec: which layers of what.
        normalisation: of images.
        inner: the network; None: one as the settings say.
        head: one sequence a layer of its projection head; None: as the settings say.

    Raises:
        UsageError: the settings name a layer that is not there, or is not as wide.
    """

    settings: ClassVar[type[EncoderSpec]] = LayersSpec

    def __init__(
        self,
        spec: LayersSpec,
        normalisation: Normalisation | None = None,
        inner: Any = None,
        head: nn.Sequential | None = None,
    ) -> None:
        super().__init__()
        if inner is None:
            inner = ENCODERS.load(spec.network.kind)(spec.network, normalisation)
            inner.dim = spec.usual
        self.spec, self.normalisation, self.inner = spec, inner.normalisation, inner
        self.head = _made(spec.usual, spec.head) if head is None else head
        self.dim = sum(one.width for one in spec.layers)
        there = dict(self.blocks) | {f"{HEAD}.{n}": one.width for n, one in enumerate(spec.head, 1)}
        for one in spec.layers:
            if there.get(one.name) != one.width:
                raise UsageError(
                    f"encoder {spec.architecture}: has no layer {one.name!r} of {one.width} numbers"
                )

    @property
    def blocks(self) -> Mapping[str, int]:
        """Those of the network."""
        blocks: Mapping[str, int] = self.inner.blocks
        return blocks

    @property
    def usual(self) -> slice:
        """Where the usual output stands in a row; where it is not given, all of the row."""
        return places_of(self.spec).get(USUAL, slice(None))

    def forward(self, images: Tensor) -> Tensor:
        """(batch, 3, height, width) in 0..1 to (batch, dim), float32."""
        return self.encode(images, "pooled")

    def encode(self, images: Tensor, want: Want, masked: Masked | None = None) -> Tensor:
        """Pooled: the layers; all else as the network has it."""
        if want != "pooled":
            return cast(Tensor, self.inner.encode(images, want, masked))
        given = _split(self.inner, self.inner.encode(images, "blocks", masked))
        row = given[USUAL]
        for number, layer in enumerate(self.head, 1):
            row = layer(row)
            given[f"{HEAD}.{number}"] = at_least_float32(row)
        return torch.cat([given[one.name] for one in self.spec.layers], dim=1)


def places_of(spec: EncoderSpec) -> dict[str, slice]:
    """Where each layer stands in a row of features; empty where an encoder gives one alone."""
    places, start = dict[str, slice](), 0
    for one in spec.layers if isinstance(spec, LayersSpec) else ():
        places[one.name] = slice(start, start + one.width)
        start += one.width
    return places


def layered(loaded: LoadedEncoder, head: nn.Module | None, size_px: int) -> LoadedEncoder:
    """An encoder of all layers: blocks, the usual output, layers of the head, in this order.

    A block that gives the same as the network, as the last of a ResNet, is left out.

    Args:
        loaded: the network.
        head: the projection head behind it, where there is one.
        size_px: side of the images.

    Raises:
        UsageError: it has no blocks, or a head of unknown layers.
    """
    inner: Any = loaded.encoder
    widths: Mapping[str, int] = getattr(inner, "blocks", {})
    if not widths:
        raise UsageError(f"encoder {inner.spec.architecture}: has no blocks that can be probed")
    told, same = head_layers(head), _same(inner, size_px)
    layers = [(name, width) for name, width in widths.items() if name not in same]
    layers += [(f"{HEAD}.{number}", one.width) for number, one in enumerate(told, 1)]
    spec = LayersSpec(
        network=inner.spec,
        usual=inner.dim,
        head=tuple(told),
        layers=tuple(LayerSpec(name=name, width=width) for name, width in layers),
    )
    made = LayersEncoder(spec, inner=inner)
    if head is not None:
        values = head.state_dict().values()
        made.head.load_state_dict(dict(zip(made.head.state_dict(), values, strict=True)))
    return _loaded(loaded, made)


def only(loaded: LoadedEncoder, names: Sequence[str]) -> LoadedEncoder:
    """An encoder of layers that gives these alone; its weights are shared."""
    before = cast(LayersEncoder, loaded.encoder)
    layers = tuple(one for one in before.spec.layers if one.name in names)
    spec = before.spec.model_copy(update={"layers": layers})
    return _loaded(loaded, LayersEncoder(spec, inner=before.inner, head=before.head))


def plain(loaded: LoadedEncoder) -> LoadedEncoder:
    """The network alone, where an encoder gives layers of it."""
    encoder = loaded.encoder
    return _loaded(loaded, encoder.inner) if isinstance(encoder, LayersEncoder) else loaded


def _loaded(before: LoadedEncoder, made: Any) -> LoadedEncoder:
    info = before.info.model_copy(update={"network": made.spec, "dim": made.dim})
    return replace(before, encoder=cast(Encoder, made.eval()), info=info)


def head_layers(head: nn.Module | None) -> list[HeadLayerSpec]:
    """What a projection head is made of.

    Raises:
        UsageError: it has more than linear layers, batch norm before ReLU or GELU.
    """
    layers = list[HeadLayerSpec]()
    parts = [] if head is None else head.modules()
    for part in parts:
        if any(True for _ in part.children()):
            continue
        acts = [name for name, kind in ACTS.items() if isinstance(part, kind)]
        if isinstance(part, nn.Linear):
            bias = part.bias is not None
            layers.append(HeadLayerSpec(width=part.out_features, bias=bias, norm=False, act=None))
        elif layers and layers[-1].act is None and (acts or isinstance(part, nn.BatchNorm1d)):
            more = {"act": acts[0]} if acts else {"norm": True}
            layers[-1] = layers[-1].model_copy(update=more)
        else:
            raise UsageError(f"a projection head with {type(part).__name__} cannot be probed")
    return layers


def _made(dim: int, layers: Sequence[HeadLayerSpec]) -> nn.Sequential:
    made = list[nn.Module]()
    for one in layers:
        parts: list[nn.Module] = [nn.Linear(dim, one.width, bias=one.bias)]
        parts += [nn.BatchNorm1d(one.width)] if one.norm else []
        parts += [ACTS[one.act]()] if one.act else []
        made.append(nn.Sequential(*parts))
        dim = one.width
    return nn.Sequential(*made)


def _split(encoder: Any, rows: Tensor) -> dict[str, Tensor]:
    """Rows of all blocks, by their names."""
    widths: Mapping[str, int] = encoder.blocks
    return dict(zip(widths, torch.split(rows, [*widths.values()], dim=1), strict=True))


@torch.no_grad()
def _same(encoder: Any, size_px: int) -> set[str]:
    """Blocks that give what the network gives."""
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(TRIAL, 3, size_px, size_px, generator=draw)
    rows = _split(encoder, encoder.encode(images, "blocks"))
    usual = rows.pop(USUAL)
    return {
        name
        for name, row in rows.items()
        if row.shape == usual.shape and torch.allclose(row, usual, rtol=1e-4, atol=1e-6)
    }
