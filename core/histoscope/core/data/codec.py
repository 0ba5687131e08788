"""Images to bytes and back. Every reader of a store decodes here, so there is one result."""

from __future__ import annotations

from typing import Literal

import imagecodecs
import numpy as np
from numpy.typing import NDArray

Encoding = Literal["jpeg", "lossless"]

JPEG_QUALITY = 95


def encode(image: NDArray[np.uint8], encoding: Encoding) -> bytes:
    """Encode one uint8 (height, width, 3) RGB image: JPEG quality 95 4:4:4, or lossless WebP."""
    if encoding == "jpeg":
        return bytes(imagecodecs.jpeg8_encode(image, level=JPEG_QUALITY, subsampling="444"))
    return bytes(imagecodecs.webp_encode(np.ascontiguousarray(image), lossless=True))


def decode(data: bytes) -> NDArray[np.uint8]:
    """Decode what :func:`encode` wrote; uint8 (height, width, 3), RGB."""
    image = (
        imagecodecs.jpeg8_decode(data) if data[:2] == b"\xff\xd8" else imagecodecs.webp_decode(data)
    )
    return np.ascontiguousarray(image[..., :3])
