"""Colour augmentations on the device: pure, batched, one row of drawn numbers an image.

Images are float, (batch, 3, height, width), RGB in 0..1. Each operation draws its numbers on the
worker (``draw``) and applies them anywhere (``apply``); a row whose first number is 0 is skipped.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import conv2d, pad

from histoscope.core.views.spec import BlurSpec, JitterSpec

LUMA = (0.299, 0.587, 0.114)


class Jitter:
    """Brightness, contrast, saturation, hue, in that order."""

    name = "jitter"
    width = 5

    def __init__(self, spec: JitterSpec) -> None:
        self.spec = spec

    def draw(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """(on, brightness, contrast, saturation, hue)."""
        spec = self.spec
        on = rng.random() < spec.p
        factors = [
            1 + rng.uniform(-s, s) for s in (spec.brightness, spec.contrast, spec.saturation)
        ]
        return np.array([on, *factors, rng.uniform(-spec.hue, spec.hue)], dtype=np.float32)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Jitter the rows that are on."""
        on, brightness, contrast, saturation, hue = (
            drawn[:, place, None, None, None] for place in range(5)
        )
        out = (images * brightness).clamp(0, 1)
        mean = _grey(out).mean(dim=(2, 3), keepdim=True)
        out = (mean + (out - mean) * contrast).clamp(0, 1)
        grey = _grey(out)
        out = (grey + (out - grey) * saturation).clamp(0, 1)
        out = turn_hue(out, hue)
        return torch.where(on > 0, out, images)


def _grey(images: Tensor) -> Tensor:
    weights = images.new_tensor(LUMA)[None, :, None, None]
    return (images * weights).sum(dim=1, keepdim=True)


def turn_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Rotate colours about the grey axis in YIQ space; luma is kept.

    Args:
        images: (batch, 3, height, width) in 0..1.
        turns: (batch, 1, 1, 1), whole turns.
    """
    to_yiq = images.new_tensor(
        [[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]]
    )
    angle = turns.reshape(-1) * (2 * torch.pi)
    one, zero = torch.ones_like(angle), torch.zeros_like(angle)
    cos, sin = torch.cos(angle), torch.sin(angle)
    turn = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], dim=1).view(-1, 3, 3)
    mix = torch.linalg.inv(to_yiq) @ turn @ to_yiq  # (batch, 3, 3)
    return torch.einsum("bij,bjhw->bihw", mix, images).clamp(0, 1)


class Grey:
    """Replace colour by luma in a share of the images."""

    name = "grey"
    width = 1

    def __init__(self, p: float) -> None:
        self.p = p

    def draw(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """(on,)."""
        return np.array([rng.random() < self.p], dtype=np.float32)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Grey the rows that are on."""
        return torch.where(drawn[:, :1, None, None] > 0, _grey(images).expand_as(images), images)


class Blur:
    """Separable Gaussian; the kernel spans three standard deviations of the strongest draw."""

    name = "blur"
    width = 2

    def __init__(self, spec: BlurSpec) -> None:
        self.spec = spec
        self.radius = max(1, int(np.ceil(3 * spec.sigma_px[1])))

    def draw(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """(on, sigma in pixels)."""
        return np.array(
            [rng.random() < self.spec.p, rng.uniform(*self.spec.sigma_px)], dtype=np.float32
        )

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Blur the rows that are on; only they are computed."""
        rows = torch.nonzero(drawn[:, 0] > 0).flatten()
        if not len(rows):
            return images
        place = torch.arange(-self.radius, self.radius + 1, device=images.device)
        kernel = torch.exp(-0.5 * (place[None] / drawn[rows, 1:2]) ** 2)
        kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(3, dim=0)
        some = images[rows].reshape(1, -1, *images.shape[2:])  # (1, rows * 3, height, width)
        edge = [self.radius] * 4
        some = pad(some, edge, mode="replicate")
        some = conv2d(some, kernel[:, None, :, None], groups=len(kernel))
        some = conv2d(some, kernel[:, None, None, :], groups=len(kernel))
        return images.index_copy(0, rows, some.reshape(-1, *images.shape[1:]))
