"""What every encoder owes: ``check_encoder({"kind": "timm", "name": "resnet18"})``."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from histoscope.core.config import build
from histoscope.core.encoders import ENCODERS
from histoscope.core.encoders.contract import USUAL, EncoderSpec
from histoscope.core.encoders.folder import EncoderInfo, load_encoder, save_encoder
from histoscope.core.encoders.making import random_encoder
from histoscope.core.errors import UsageError

BATCH = 4


def check_encoder(network: Mapping[str, Any] | str, size_px: int = 64) -> None:
    """See that an encoder keeps its contract.

    Args:
        network: its settings, or timm's name.
        size_px: side of the images.

    Raises:
        AssertionError: saying what it owes.
        UsageError: it takes no images of this side.
    """
    spec = build(EncoderSpec, {"name": network} if isinstance(network, str) else network, "network")
    kind = ENCODERS.load(spec.kind)
    assert isinstance(spec, kind.settings), f"settings: {kind.settings} is not what {spec} is"
    state = torch.get_rng_state()
    encoder = random_encoder(spec, size_px, 0).eval()
    assert torch.equal(torch.get_rng_state(), state), "making it moves torch's generator"
    images = torch.rand(BATCH, 3, size_px, size_px, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        rows = encoder(images)
        _check_rows(encoder, images, rows)
        _check_others(encoder, images)
        _check_blocks(encoder, images, rows)
        _check_folder(encoder, images, rows)
        if any(True for _ in encoder.parameters()):
            wide = copy.deepcopy(encoder).double()(images.double())
            assert wide.dtype == torch.float64, f"float64 images become {wide.dtype}"
    _check_gradient(encoder, images)


def _check_rows(encoder: Any, images: torch.Tensor, rows: torch.Tensor) -> None:
    assert rows.shape == (BATCH, encoder.dim), f"rows {tuple(rows.shape)}, but dim {encoder.dim}"
    assert rows.dtype == torch.float32, f"features are {rows.dtype}, not float32"
    assert torch.equal(encoder.encode(images, "pooled"), rows), "encode: pooled is not the call"
    assert torch.equal(encoder(images), rows), "the same images have other features"
    alone = torch.cat([encoder(image[None]) for image in images])
    apart = float((alone - rows).abs().max() / rows.abs().max().clamp(min=1e-6))
    assert apart < 1e-3, f"an image's features depend on its batch ({apart:.1e})"
    for name in ("mean", "std"):
        assert len(getattr(encoder.normalisation, name)) == 3, f"normalisation has no {name}"


def _check_others(encoder: Any, images: torch.Tensor) -> None:
    """A map and tokens, where the network has any: the rows of the map are the last tokens."""
    try:
        place, tokens = encoder.encode(images, "map"), encoder.encode(images, "tokens")
    except UsageError:
        return
    assert place.ndim == 4, f"encode: a map of shape {tuple(place.shape)}"
    assert place.dtype == tokens.dtype == torch.float32, "encode: not float32"
    flat = place.flatten(2).transpose(1, 2)
    assert torch.equal(tokens[:, -flat.shape[1] :], flat), "encode: the map is not its tokens"


def _check_blocks(encoder: Any, images: torch.Tensor, rows: torch.Tensor) -> None:
    """Side by side as wide as they are said to be, the usual output behind them."""
    widths: Mapping[str, int] = getattr(encoder, "blocks", {})
    if not widths:
        return
    given = encoder.encode(images, "blocks")
    assert given.dtype == torch.float32, "encode: blocks are not float32"
    assert given.shape == (BATCH, sum(widths.values())), f"encode: blocks {tuple(given.shape)}"
    (*_, last), width = widths, [*widths.values()][-1]
    assert last == USUAL, f"blocks: the last is {last}, not {USUAL}"
    if width == encoder.dim:  # else it gives layers of a network
        assert torch.equal(given[:, -width:], rows), "encode: the last block is not the call"


def _check_folder(encoder: Any, images: torch.Tensor, rows: torch.Tensor) -> None:
    info = EncoderInfo(network=encoder.spec, dim=encoder.dim, normalisation=encoder.normalisation)
    with tempfile.TemporaryDirectory() as folder:
        save_encoder(Path(folder), encoder, info, frozenset())
        again = load_encoder(Path(folder))
    assert again.info == info, "its settings are others when they were written and read"
    assert torch.equal(again.module(images), rows), "other features when it was written and read"


def _check_gradient(encoder: Any, images: torch.Tensor) -> None:
    trained = [p for p in encoder.parameters() if p.requires_grad]
    if trained:
        encoder.train()(images).square().sum().backward()
        assert any(p.grad is not None and p.grad.any() for p in trained), "no weight has a gradient"
