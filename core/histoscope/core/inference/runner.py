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
from histoscope.core.encoders.given import GivenEncoder
from histoscope.core.encoders.pixels import to_unit
from histoscope.core.inference.folding import folded
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
    """Runs one network over images, without gradient; features of another program pass.

    Args:
        module: RGB in 0..1 to (batch, dim), as an encoder; it moves to the device and keeps its
            mode.
        device: where it runs.
        precision: of its passes; features are float32.
        name: of the network, digest of its weights included; what it gives is kept under this.

    Attributes:
        encoded: images that it has encoded.
        usual: where a row holds the network's pooled output, of several layers that it may hold.
    """

    def __init__(
        self,
        module: nn.Module,
        device: torch.device,
        precision: Precision = "float32",
        name: str = "",
    ) -> None:
        self.module, self.device, self.precision = module.to(device), device, precision
        self.dim, self.key = int(getattr(module, "dim", 0)), f"{name}-{device.type}-{precision}"
        self.encoded, self._given = 0, isinstance(module, GivenEncoder)
        self.usual: slice = getattr(module, "usual", slice(None))

    @classmethod
    def of(cls, loaded: LoadedEncoder, compute: Compute) -> Runner:
        """A runner of an encoder that lies on disk; on a CPU with its batch norms folded."""
        return cls._light(loaded, compute.chosen(), compute.precision)

    def like(self, loaded: LoadedEncoder) -> Runner:
        """A runner of another encoder, in the same place."""
        return Runner._light(loaded, self.device, self.precision)

    @classmethod
    def _light(cls, loaded: LoadedEncoder, device: torch.device, precision: Precision) -> Runner:
        size_px = loaded.info.sampling.get("size_px")
        lighter = None
        if device.type == "cpu" and isinstance(size_px, int):
            lighter = folded(loaded.module, size_px)
        if lighter is None:
            return cls(loaded.module, device, precision, loaded.digest)
        return cls(lighter, device, precision, f"{loaded.digest}-folded")

    @property
    def where(self) -> dict[str, str]:
        """Device and precision, for the files that say what made them."""
        return {"device": self.device.type, "precision": self.precision}

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
        if self._given:
            return np.stack(images).astype(np.float32)
        whole = np.stack(images + [images[-1]] * (BATCH - len(images)))
        return self.forward(torch.from_numpy(whole)).cpu().numpy()[: len(images)]

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        """uint8 (batch, height, width, 3) on any device to float32 (batch, dim)."""
        ready = to_unit(images.to(self.device, non_blocking=True))
        low = self.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=low):
            return cast(Tensor, self.module(ready)).float()
