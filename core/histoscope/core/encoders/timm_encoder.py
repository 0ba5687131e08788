"""Networks of the timm library as encoders: pooled features, no classifier."""

from __future__ import annotations

from typing import cast

import timm
import torch
from torch import Tensor, nn

from histoscope.core.errors import DataError, UsageError, near_word


class TimmEncoder(nn.Module):
    """A timm network without its classifier.

    Args:
        name: timm's name, for example ``resnet18``.
        pretrained: load the weights that timm downloads.

    Raises:
        UsageError: timm knows no such network.
        DataError: its weights cannot be had on this machine.
    """

    def __init__(self, name: str, *, pretrained: bool = False) -> None:
        super().__init__()
        if not timm.is_model(name):
            raise UsageError(f"timm knows no {name!r}{near_word(name, timm.list_models())}")
        try:
            self.network = timm.create_model(name, pretrained=pretrained, num_classes=0)
        except Exception as fault:  # timm and its hub raise many kinds
            text = " ".join(str(fault).split()).partition(". ")[0]
            raise DataError(
                f"timm:{name}: its weights cannot be loaded here ({text[:160]}); without internet "
                f"give a run, a package or random:{name}"
            ) from fault
        self.architecture = f"timm:{name}"
        self.dim = int(cast(int, self.network.num_features))

    def forward(self, images: Tensor) -> Tensor:
        """(batch, 3, height, width), normalised, to (batch, dim), float32."""
        return cast(Tensor, self.network(images)).float()


def random_encoder(name: str, seed: int) -> TimmEncoder:
    """A timm network with weights drawn under ``seed``; torch's global generator is untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TimmEncoder(name)
