"""The one loop from images to features."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from histoscope.core.contracts import CorruptSample, Sample
from histoscope.core.encoders.folder import LoadedEncoder
from histoscope.core.encoders.pixels import Normalisation, to_tensor
from histoscope.core.runtime.device import Compute, Precision

BATCH = 64  # always full: what a sample gives does not depend on how many others there are


@dataclass(frozen=True)
class Encoded:
    """One batch as it was read.

    Attributes:
        samples: in order.
        good: which could be read, (samples,).
        features: of these, (good, dim), float32.
    """

    samples: list[Sample | CorruptSample]
    good: NDArray[np.bool_]
    features: NDArray[np.float32]


class Runner:
    """Runs one network over images, without gradient.

    Args:
        module: images (batch, 3, height, width), normalised, to (batch, dim); it moves to the
            device and keeps its mode.
        normalisation: of its images.
        device: where it runs.
        precision: of its passes; features are float32.
        name: of the network, digest of its weights included; what it gives is kept under this.

    Attributes:
        encoded: images that it has encoded.
    """

    def __init__(
        self,
        module: nn.Module,
        normalisation: Normalisation,
        device: torch.device,
        precision: Precision = "float32",
        name: str = "",
    ) -> None:
        self.module, self.normalisation = module.to(device), normalisation
        self.device, self.precision = device, precision
        self.dim, self.key = int(cast(int, module.dim)), f"{name}-{device.type}-{precision}"
        self.encoded = 0

    @classmethod
    def of(cls, loaded: LoadedEncoder, compute: Compute) -> Runner:
        """A runner of an encoder that lies on disk."""
        normalisation, device = loaded.info.normalisation, compute.chosen()
        return cls(loaded.module, normalisation, device, compute.precision, loaded.digest)

    def like(self, loaded: LoadedEncoder) -> Runner:
        """A runner of another encoder, in the same place."""
        where = self.device, self.precision
        return Runner(loaded.module, loaded.info.normalisation, *where, loaded.digest)

    def run(self, samples: Iterable[Sample | CorruptSample]) -> Iterator[Encoded]:
        """Encode samples in order, a batch at a time; the last one is padded."""
        waiting = iter(samples)
        while batch := list(islice(waiting, BATCH)):
            images = [sample.image for sample in batch if isinstance(sample, Sample)]
            good = np.array([isinstance(sample, Sample) for sample in batch])
            yield Encoded(batch, good, self._features(images))

    def features(self, images: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Features of images that can all be read, (images, dim)."""
        parts = [batch.features for batch in self.run(Sample(image) for image in images)]
        return np.concatenate(parts) if parts else np.zeros((0, self.dim), np.float32)

    def _features(self, images: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        if not images:
            return np.zeros((0, self.dim), np.float32)
        self.encoded += len(images)
        whole = np.stack(images + [images[-1]] * (BATCH - len(images)))
        return self.forward(torch.from_numpy(whole)).cpu().numpy()[: len(images)]

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        """uint8 (batch, height, width, 3) on any device to float32 (batch, dim)."""
        ready = to_tensor(images.to(self.device, non_blocking=True), self.normalisation)
        low = self.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=low):
            return cast(Tensor, self.module(ready)).float()
