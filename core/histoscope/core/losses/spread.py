"""Features that keep their distance."""

from __future__ import annotations

import torch
from torch import Tensor

from histoscope.core.losses.regression import unit

EPSILON = 1e-8


def crowding(features: Tensor) -> Tensor:
    """-mean log distance to the nearest other row, at unit length (KoLeo).

    Sablayrolles et al. 2019, "Spreading vectors for similarity search", eq. 2, as Oquab et al. 2023
    (DINOv2) use it; float32 or better.

    Args:
        features: of the whole batch, (rows, dim).
    """
    rows = unit(features)
    cosines = (rows @ rows.T).fill_diagonal_(-1)
    nearest = rows[cosines.argmax(dim=1)]
    return -torch.log((rows - nearest).norm(dim=1) + EPSILON).mean()
