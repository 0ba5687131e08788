"""Colour statistics as an encoder: the baseline that every figure stands beside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import cv2
import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from histoscope.core.encoders.contract import EncoderSpec, Masked, Want
from histoscope.core.encoders.pixels import IDENTITY
from histoscope.core.errors import UsageError

SPACES = (None, cv2.COLOR_RGB2HSV, cv2.COLOR_RGB2LAB)


class ColourSpec(EncoderSpec):
    """The baseline of colour statistics."""

    kind: Literal["colour"] = Field("colour", description="colour statistics")
    name: Literal[""] = Field("", description="there is only one")
    input_px: None = Field(None, description="takes images of any side")
    pool: None = Field(None, description="pools by mean and deviation")


class ColourEncoder(nn.Module):
    """Mean and standard deviation of each channel in RGB, HSV and CIE LAB: 18 numbers.

    Takes RGB in 0..1 (its normalisation is the identity). Hue is in degrees, LAB in D65.
    """

    settings: ClassVar[type[EncoderSpec]] = ColourSpec
    dim = 18
    blocks: ClassVar[Mapping[str, int]] = {}

    def __init__(self, spec: EncoderSpec | None = None, normalisation: object = None) -> None:
        super().__init__()
        self.spec, self.normalisation = spec or ColourSpec(), IDENTITY

    def forward(self, images: Tensor) -> Tensor:
        """(batch, 3, height, width) in 0..1 to (batch, 18), float32."""
        pixels = images.detach().permute(0, 2, 3, 1).float().cpu().contiguous().numpy()
        rows = [_statistics(image) for image in pixels]
        return torch.from_numpy(np.stack(rows)).to(images.device)

    def encode(self, images: Tensor, want: Want, masked: Masked | None = None) -> Tensor:
        """Pooled only."""
        if masked is not None:
            raise UsageError("encoder colour: has no patches that can be masked")
        if want != "pooled":
            raise UsageError(f"encoder colour: has no {want}, only pooled features")
        return self.forward(images)


def _statistics(image: np.ndarray) -> np.ndarray:
    numbers = []
    for space in SPACES:
        converted = image if space is None else cv2.cvtColor(image, space)
        numbers += [converted.mean(axis=(0, 1)), converted.std(axis=(0, 1))]
    return np.concatenate(numbers).astype(np.float32)
