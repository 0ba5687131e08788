"""What an encoder owes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch


class Encoder(Protocol):
    """Images to pooled features.

    Attributes:
        architecture: for example ``"timm:resnet18"``, ``"colour"``.
        dim: width of a feature row.
    """

    architecture: str
    dim: int

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """(batch, 3, height, width), normalised, to (batch, dim), float32."""
