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
        self._path, self._size = path, _size_of(path)
        check_readable(path)
        try:
            self._reader = pa.ipc.open_file(pa.memory_map(str(path)))
        except (pa.ArrowInvalid, OSError):
            raise _damaged(path) from None

    def data(self, row: int) -> bytes:
        """One encoded image.

        Raises:
            DataError: cut or gone since it was opened: the system ends a process that reads a
                mapped file behind its end.
        """
        if _size_of(self._path) != self._size:
            raise _damaged(self._path)
        try:
            batch = self._reader.get_batch(row // ROWS_A_BATCH)
            return bytes(batch.column(0)[row % ROWS_A_BATCH].as_py())
        except (pa.ArrowInvalid, OSError, IndexError):
            raise _damaged(self._path) from None

    def image(self, row: int) -> NDArray[np.uint8]:
        """One image, as :func:`decode`; raises as :meth:`data`, also where it cannot be decoded."""
        data = self.data(row)
        try:
            return decode(data)
        except (RuntimeError, ValueError, IndexError):  # imagecodecs' errors are of these kinds
            raise _damaged(self._path) from None


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        raise DataError(f"{path}: missing; copy the store again, or prepare it anew") from None


def _damaged(path: Path) -> DataError:
    return DataError(f"{path}: damaged; copy the store again, or prepare it anew")


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
