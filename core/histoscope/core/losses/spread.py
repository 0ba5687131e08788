"""Features that keep their distance."""

from __future__ import annotations

from lightly.loss import KoLeoLoss
from torch import Tensor


def crowding(features: Tensor) -> Tensor:
    """-mean log distance to the nearest other row, at unit length (KoLeo).

    Sablayrolles et al. 2019, "Spreading vectors for similarity search", eq. 2, as Oquab et al. 2023
    (DINOv2) use it; lightly's, in float32 or better.

    Args:
        features: of the whole batch, (rows, dim).
    """
    loss: Tensor = KoLeoLoss()(features if features.dtype.itemsize > 2 else features.float())
    return loss
