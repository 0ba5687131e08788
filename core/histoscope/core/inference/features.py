"""Features of many images of a store, in batches."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from histoscope.core.data.store import Store
from histoscope.core.encoders.folder import LoadedEncoder
from histoscope.core.encoders.pixels import to_tensor
from histoscope.core.progress import Progress


def encode_batch(loaded: LoadedEncoder, images: Tensor) -> Tensor:
    """uint8 (batch, height, width, 3) to features (batch, dim), without gradient."""
    with torch.inference_mode():
        return loaded.encoder(to_tensor(images, loaded.info.normalisation))


BATCH = 128


def features_of(
    loaded: LoadedEncoder, store: Store, rows: NDArray[np.int64], progress: Progress
) -> NDArray[np.float32]:
    """Features of index rows, (rows, dim), float32, in order."""
    progress.start("features", len(rows), "images")
    device = next(iter(loaded.module.parameters()), torch.zeros(0)).device
    out = []
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        images = torch.from_numpy(np.stack(list(store.images(part)))).to(device)
        out.append(encode_batch(loaded, images).cpu().numpy())
        progress.advance(len(part))
    progress.finish()
    if not out:
        return np.zeros((0, loaded.info.dim), np.float32)
    return np.concatenate(out).astype(np.float32, copy=False)
