"""Heads that are thrown away after pretraining, of lightly's layers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from lightly.models.modules.heads import ProjectionHead
from torch import nn

from histoscope.core.objectives.spec import ProjectorSpec


def projector(dim: int, spec: ProjectorSpec) -> nn.Module:
    """Two layers, batch norm after both (Chen et al. 2020, appendix B.9; last BN as in code)."""
    first = (dim, spec.hidden, nn.BatchNorm1d(spec.hidden), nn.ReLU(inplace=True))
    return _made([first, (spec.hidden, spec.out, nn.BatchNorm1d(spec.out), None)])


def plain_projector(dim: int, spec: ProjectorSpec) -> nn.Module:
    """Two layers without batch norm (Chen et al. 2020, "Improved Baselines with Momentum")."""
    first = (dim, spec.hidden, None, nn.ReLU(inplace=True))
    return _made([first, (spec.hidden, spec.out, None, None)])


def layered(widths: Sequence[int], *, norm: bool = True) -> nn.Module:
    """Linear layers, each but the last followed by batch norm and ReLU, the last with a bias.

    Without batch norm by GELU, as the heads of Caron et al. 2021 (DINO) for transformers.

    With three widths the projector and the predictor of Grill et al. 2020 (BYOL); with four the
    projector of Zbontar et al. 2021 (Barlow Twins) but for that bias, which standardising undoes.
    """
    *hidden, last = pairwise(widths)
    blocks: list[tuple[Any, ...]] = [
        (before, after, nn.BatchNorm1d(after), nn.ReLU())
        if norm
        else (before, after, None, nn.GELU())
        for before, after in hidden
    ]
    return _made([*blocks, (*last, None, None)])


def _made(blocks: Sequence[tuple[Any, ...]]) -> nn.Module:
    """Widths before and after, normalisation, non-linearity; a bias where nothing normalises."""
    layers: nn.Module = ProjectionHead(blocks).layers
    return layers
