"""Heads that are thrown away after pretraining."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from histoscope.core.objectives.spec import ProjectorSpec


def projector(dim: int, spec: ProjectorSpec) -> nn.Module:
    """Two layers, batch norm after both (Chen et al. 2020, appendix B.9; last BN as in code)."""
    return nn.Sequential(
        nn.Linear(dim, spec.hidden, bias=False),
        nn.BatchNorm1d(spec.hidden),
        nn.ReLU(inplace=True),
        nn.Linear(spec.hidden, spec.out, bias=False),
        nn.BatchNorm1d(spec.out),
    )


def plain_projector(dim: int, spec: ProjectorSpec) -> nn.Module:
    """Two layers without batch norm (Chen et al. 2020, "Improved Baselines with Momentum")."""
    return nn.Sequential(
        nn.Linear(dim, spec.hidden), nn.ReLU(inplace=True), nn.Linear(spec.hidden, spec.out)
    )


def layered(widths: Sequence[int], *, norm: bool = True) -> nn.Module:
    """Linear layers, each but the last followed by batch norm and ReLU, the last with a bias.

    Without batch norm by GELU, as the heads of Caron et al. 2021 (DINO) for transformers.

    With three widths the projector and the predictor of Grill et al. 2020 (BYOL); with four the
    projector of Zbontar et al. 2021 (Barlow Twins) but for that bias, which standardising undoes.
    """
    *hidden, out = widths[1:]
    layers: list[nn.Module] = []
    for before, after in zip(widths, hidden, strict=False):
        if norm:
            layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU()]
        else:
            layers += [nn.Linear(before, after), nn.GELU()]
    return nn.Sequential(*layers, nn.Linear(widths[-2], out))
