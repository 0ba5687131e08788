"""A network and a head behind it as one module, that answers classes of images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from histoscope.core.encoders.folder import LoadedEncoder
from histoscope.core.heads.contract import Bags, Head


class Answering(nn.Module):
    """Images to the probability of each class, without gradient.

    Args:
        loaded: the encoder.
        head: of samples, on its features.

    Attributes:
        dim: number of classes.
    """

    def __init__(self, loaded: LoadedEncoder, head: Head) -> None:
        super().__init__()
        self.encoder, self._head, self.dim = loaded.module, head, len(head.cut)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """RGB in 0..1, (batch, 3, height, width), to (batch, classes), float32."""
        features = self.encoder(images).float().cpu().numpy()
        rows = self._head.probabilities(Bags.of_samples(features))
        return torch.from_numpy(rows).to(images.device)
