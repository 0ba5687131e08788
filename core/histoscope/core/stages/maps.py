"""Encoders for providers of masks: feature maps of images that are resized first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from histoscope.core.data.store import Store
from histoscope.core.errors import HistoscopeError, UsageError
from histoscope.core.progress import Progress, Silent
from histoscope.core.runtime.device import Compute

BATCH = 32  # images that pass a network at once


class Encoders:
    """Opens encoders while a provider makes what makes masks, and keeps which they were.

    Pickles as one that opens no more: what it opened goes by itself.

    Attributes:
        opened: in that order.
    """

    def __init__(self, store: Store, compute: Compute, progress: Progress) -> None:
        self.opened: list[EncoderMaps] = []
        self._at: tuple[Store, Compute, Progress] | None = (store, compute, progress)

    def __getstate__(self) -> dict[str, Any]:
        """Closed."""
        return {"opened": [], "_at": None}

    def __call__(self, word: str, size_px: int) -> EncoderMaps:
        """An encoder by the word of the command line, for images that are resized to a side.

        Raises:
            UsageError: no such encoder, none with maps, or not for images of that side; or the
                provider has made already what makes masks.
            DataError: damaged, or of another scale than the store.
        """
        if self._at is None:
            raise UsageError(f"encoder {word}: a provider opens encoders in 'make' alone")
        store, compute, progress = self._at
        if not self.opened:
            compute.say(progress)
        self.opened.append(EncoderMaps(word, size_px, store, compute))
        self.opened[-1].open(progress)
        return self.opened[-1]

    def close(self) -> list[EncoderMaps]:
        """Open no more; what was opened."""
        self._at = None
        return self.opened


class EncoderMaps:
    """Feature maps by one encoder of images that are resized to one side. Pickles as its word.

    Attributes:
        word: of the command line.
        digest: of its network, its weights and the side.
    """

    def __init__(self, word: str, size_px: int, store: Store, compute: Compute) -> None:
        self.word, self.digest = word, ""
        self._size_px, self._store, self._compute = size_px, store.path, compute
        self._encoder: Any = None
        self._shape = (0, 0, 0)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the network behind."""
        return {**self.__dict__, "_encoder": None}

    def open(self, progress: Progress | None = None) -> None:
        """Open the encoder in this process; errors as :class:`Encoders`."""
        if self._encoder is not None:
            return
        from histoscope.core.stages.encoders import open_encoder

        self._compute.start()
        store, size_px = Store(self._store), self._size_px
        loaded = open_encoder(self.word, store, 0, progress or Silent(), size_px=size_px)
        self.digest = f"{loaded.digest}-{size_px}"
        self._encoder = loaded.module.to(self._compute.chosen()).eval()
        blank = np.full((size_px, size_px, 3), 128, np.uint8)
        try:
            maps = self._passed([blank, blank])
        except HistoscopeError as fault:
            raise UsageError(f"{self.word}: {fault}") from None
        except Exception as fault:  # networks refuse sizes in many ways
            said = " ".join(str(fault).split())[:160] or type(fault).__name__
            raise UsageError(
                f"{self.word}: takes no images of {size_px} px ({said}); give the side that it "
                "was made for"
            ) from None
        if maps.ndim != 4 or len(maps) != 2 or not np.isfinite(maps).all():
            raise UsageError(f"{self.word}: gives no finite maps of images of {size_px} px")
        _, *shape = maps.shape
        self._shape = (shape[0], shape[1], shape[2])

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Images, each (height, width, 3), to maps, (images, channels, rows, columns)."""
        self.open()
        parts = [self._passed(images[at : at + BATCH]) for at in range(0, len(images), BATCH)]
        return np.concatenate(parts) if parts else np.zeros((0, *self._shape), np.float32)

    def _passed(self, images: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
        import torch

        from histoscope.core.encoders.pixels import to_unit

        with torch.inference_mode():
            batch = torch.from_numpy(np.stack([resized(one, self._size_px) for one in images]))
            ready = to_unit(batch.to(self._compute.chosen()))
            maps: NDArray[np.float32] = self._encoder.encode(ready, "map").float().cpu().numpy()
        return maps


def resized(image: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """An image, (height, width, channels), with both sides of that length.

    Area means where it shrinks, linear where it grows.
    """
    if image.shape[:2] == (size_px, size_px):
        return image
    way = cv2.INTER_AREA if size_px < max(image.shape[:2]) else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (size_px, size_px), interpolation=way), np.uint8)
