"""Heads that are thrown away after pretraining."""

from __future__ import annotations

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
