"""A queue of feature rows, with the image that each came from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from histoscope.core.errors import UsageError

NOBODY = -1


def check_rows(name: str, rows: int, samples: int, batch: int) -> None:
    """See that a memory of images suits a run.

    Args:
        name: of the setting.
        rows: that it holds.
        samples: images of the run.
        batch: of them a step.

    Raises:
        UsageError: more rows than half of the samples, so that an image would meet itself; fewer
            than a batch, of which some would be forgotten at once; too few samples for both.
    """
    half = samples // 2
    if half < batch:
        raise UsageError(
            f"{name}: at most half of {samples} samples may be remembered, and a batch of {batch} "
            "must; give a smaller batch"
        )
    if rows > half:
        raise UsageError(
            f"{name}: {rows} are more than half of {samples} samples; --set {name}={half}"
        )
    if rows < batch:
        raise UsageError(f"{name}: {rows} hold no batch of {batch}; give more, or a smaller batch")


class FeatureQueue(nn.Module):
    """The last rows put in, oldest overwritten first. All of it is state: it resumes.

    Args:
        rows: how many it holds.
        dim: width of a row.
        beneath: width of what is kept beside each row, as the features under a head; None: nothing.

    Attributes:
        features: (rows, dim); rows not yet filled are zero.
        beneath: (rows, beneath), in the same places; None: nothing is kept beside.
        index: dataset index of each row, int64, (rows,); -1 where not yet filled.
        pointer: where the next row goes, int64 scalar.
    """

    features: Tensor
    beneath: Tensor | None
    index: Tensor
    pointer: Tensor

    def __init__(self, rows: int, dim: int, beneath: int | None = None) -> None:
        super().__init__()
        self.register_buffer("features", torch.zeros(rows, dim))
        self.register_buffer("beneath", None if beneath is None else torch.zeros(rows, beneath))
        self.register_buffer("index", torch.full((rows,), NOBODY))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    @property
    def filled(self) -> Tensor:
        """Which rows hold something, bool, (rows,)."""
        return self.index != NOBODY

    @torch.no_grad()
    def put(self, features: Tensor, index: Tensor, beneath: Tensor | None = None) -> None:
        """Enqueue rows in order; of more rows than it holds the last ones stay.

        Args:
            features: (batch, dim).
            index: dataset index of each, int64, (batch,).
            beneath: what is kept beside each, (batch, beneath).
        """
        rows = len(self.index)
        features, index = features[-rows:], index[-rows:]
        places = (torch.arange(len(index), device=self.index.device) + self.pointer) % rows
        self.features[places] = features.detach().to(self.features.dtype)
        if self.beneath is not None:
            assert beneath is not None
            self.beneath[places] = beneath[-rows:].detach().to(self.beneath.dtype)
        self.index[places] = index
        self.pointer.copy_((self.pointer + len(index)) % rows)
