"""Pixels to tensors, the same way in training, evaluation and prediction."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from histoscope.core.config import Spec

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normalisation(Spec):
    """Channel means and standard deviations, of RGB in 0..1."""

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


IDENTITY = Normalisation(mean=(0, 0, 0), std=(1, 1, 1))


class Normalise(nn.Module):
    """Float (batch, 3, height, width) in 0..1 to zero mean and unit deviation; layout stays.

    Its numbers are no weights: they stand in the encoder's description, not in its state.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, normalisation: Normalisation) -> None:
        super().__init__()
        for name in ("mean", "std"):
            numbers = torch.tensor(getattr(normalisation, name))[:, None, None]
            self.register_buffer(name, numbers, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalise a batch."""
        return (images - self.mean) / self.std


def at_least_float32(rows: Tensor) -> Tensor:
    """Float64 as it is, all else as float32."""
    return rows if rows.dtype == torch.float64 else rows.float()


def to_unit(images: Tensor) -> Tensor:
    """uint8 (batch, height, width, 3) to float32 (batch, 3, height, width) in 0..1."""
    # in two passes, which take half the time of one division of bytes
    return images.permute(0, 3, 1, 2).float().div_(255)
