"""A shard: encoded images of one source in an Arrow IPC file, memory-mapped, read at random.

Every reader of a store decodes its images here, so there is one result.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import imagecodecs
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoscope.core.errors import DataError
from histoscope.core.files import atomic_path, check_readable

Encoding = Literal["jpeg", "lossless"]

JPEG_QUALITY = 95
ROWS_A_BATCH = 256
SCHEMA = pa.schema(
    [pa.field("image", pa.large_binary(), nullable=False)],
    metadata={"format": "histoscope.shard", "version": "1"},
)


def write_shard(path: Path, images: Iterable[bytes]) -> int:
    """Write encoded images in order; returns how many. The file appears whole or not at all."""
    count, pending = 0, list[bytes]()
    with (
        atomic_path(path) as part,
        pa.OSFile(str(part), "wb") as sink,
        pa.ipc.new_file(sink, SCHEMA) as writer,
    ):
        for image in images:
            pending.append(image)
            count += 1
            if len(pending) == ROWS_A_BATCH:
                writer.write_batch(_batch(pending))
                pending = []
        if pending:
            writer.write_batch(_batch(pending))
    return count


def _batch(images: list[bytes]) -> pa.RecordBatch:
    return pa.record_batch([pa.array(images, pa.large_binary())], schema=SCHEMA)


class Shard:
    """An open shard. Opened in the process that reads it: a mapped table pickles whole.

    Raises:
        DataError: absent or cut.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise DataError(f"{path}: missing; copy the store again, or prepare it anew")
        check_readable(path)
        try:
            self._reader = pa.ipc.open_file(pa.memory_map(str(path)))
        except pa.ArrowInvalid:
            raise DataError(f"{path}: damaged; copy the store again, or prepare it anew") from None

    def data(self, row: int) -> bytes:
        """One encoded image."""
        batch = self._reader.get_batch(row // ROWS_A_BATCH)
        return bytes(batch.column(0)[row % ROWS_A_BATCH].as_py())


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
