"""RGB to LAB, HSV and stain amounts, and back: pure functions on tensors.

Everywhere the second axis is the colour, (batch, 3, ...); RGB is in 0..1. Nothing is rounded, and
nothing but the final RGB is clipped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

# IEC 61966-2-1 to CIE XYZ, and the D65 white of the 2 degree observer, as in skimage.color
XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
WHITE = (0.95047, 1.0, 1.08883)
# rows: haematoxylin, eosin, DAB; red, green, blue optical densities of unit length.
# Ruifrok and Johnston 2001, table 2, as in skimage.color.hed_from_rgb before inversion
HED = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
DARKEST = 1 / 255


@dataclass(frozen=True)
class Space:
    """A colour space.

    Attributes:
        forward: RGB in 0..1 to the space.
        back: the space to RGB, clipped to 0..1.
        circular: the channel that is an angle in turns, None where there is none.
    """

    forward: Callable[[Tensor], Tensor]
    back: Callable[[Tensor], Tensor]
    circular: int | None = None


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """CIE LAB of sRGB under D65: L in 0..100, a and b in the same unit (CIE 15:2004, 8.2.1)."""
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    parts = _mix(_matrix(XYZ, rgb) / rgb.new_tensor(WHITE)[:, None], linear)
    bent = torch.where(parts > 0.008856, parts.clamp_min(0) ** (1 / 3), 7.787 * parts + 16 / 116)
    x, y, z = bent.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """Back from :func:`rgb_to_lab`; colours that sRGB cannot show are clipped to 0..1."""
    lightness, a, b = lab.unbind(1)
    y = (lightness + 16) / 116
    bent = torch.stack([y + a / 500, y, (y - b / 200).clamp_min(0)], dim=1)
    parts = torch.where(bent > 0.2068966, bent**3, (bent - 16 / 116) / 7.787)
    back = torch.linalg.inv(_matrix(XYZ, lab)) * lab.new_tensor(WHITE)
    linear = _mix(back, parts)
    curved = 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, curved, 12.92 * linear).clamp(0, 1)


def rgb_to_hsv(rgb: Tensor) -> Tensor:
    """Hue in turns from red, [0, 1), saturation and value in 0..1; the hue of a grey is 0."""
    red, green, blue = rgb.unbind(1)
    value = rgb.amax(dim=1)
    spread = value - rgb.amin(dim=1)
    unit = torch.where(spread > 0, spread, 1)
    sixths = torch.where(
        value == red,
        (green - blue) / unit,
        torch.where(value == green, (blue - red) / unit + 2, (red - green) / unit + 4),
    )
    hue = torch.where(spread > 0, torch.remainder(sixths / 6, 1), 0)
    return torch.stack([hue, spread / torch.where(value > 0, value, 1), value], dim=1)


def hsv_to_rgb(hsv: Tensor) -> Tensor:
    """Back from :func:`rgb_to_hsv`; hue is taken modulo 1, saturation and value are clipped."""
    hue, saturation, value = hsv[:, 0], hsv[:, 1].clamp(0, 1), hsv[:, 2].clamp(0, 1)
    parts = []
    for first in (5, 3, 1):
        place = torch.remainder(first + 6 * hue, 6)
        parts.append(value - value * saturation * torch.minimum(place, 4 - place).clamp(0, 1))
    return torch.stack(parts, dim=1)


def rgb_to_hed(rgb: Tensor) -> Tensor:
    """Amounts of haematoxylin, eosin and DAB, in optical density -ln(max(I, 1/255)).

    Ruifrok and Johnston 2001. Amounts may be negative: clipping them, as skimage does, already
    changes an image that nothing else is done to.
    """
    return _mix(torch.linalg.inv(_stains(rgb).mT), rgb.clamp_min(DARKEST).log().neg())


def hed_to_rgb(amounts: Tensor) -> Tensor:
    """Back from :func:`rgb_to_hed`; brighter than white is clipped."""
    return _mix(_stains(amounts).mT, amounts).neg_().exp_().clamp_(0, 1)


SPACES = {
    "lab": Space(rgb_to_lab, lab_to_rgb),
    "hsv": Space(rgb_to_hsv, hsv_to_rgb, circular=0),
    "hed": Space(rgb_to_hed, hed_to_rgb),
}


def _stains(like: Tensor) -> Tensor:
    return normalize(_matrix(HED, like), dim=1)


def _matrix(rows: tuple[tuple[float, float, float], ...], like: Tensor) -> Tensor:
    return torch.tensor(rows, dtype=like.dtype, device=like.device)


def _mix(matrix: Tensor, values: Tensor) -> Tensor:
    """A 3 x 3 matrix on the colour axis."""
    return torch.matmul(matrix, values.flatten(2)).reshape(values.shape)
