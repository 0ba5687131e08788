"""Colour statistics as an encoder: the baseline that every figure stands beside."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor, nn

SPACES = (None, cv2.COLOR_RGB2HSV, cv2.COLOR_RGB2LAB)


class ColourEncoder(nn.Module):
    """Mean and standard deviation of each channel in RGB, HSV and CIE LAB: 18 numbers.

    Takes RGB in 0..1 (its normalisation is the identity). Hue is in degrees, LAB in D65.
    """

    architecture = "colour"
    dim = 18

    def forward(self, images: Tensor) -> Tensor:
        """(batch, 3, height, width) in 0..1 to (batch, 18), float32."""
        pixels = images.detach().permute(0, 2, 3, 1).float().cpu().contiguous().numpy()
        rows = [_statistics(image) for image in pixels]
        return torch.from_numpy(np.stack(rows)).to(images.device)


def _statistics(image: np.ndarray) -> np.ndarray:
    numbers = []
    for space in SPACES:
        converted = image if space is None else cv2.cvtColor(image, space)
        numbers += [converted.mean(axis=(0, 1)), converted.std(axis=(0, 1))]
    return np.concatenate(numbers).astype(np.float32)
