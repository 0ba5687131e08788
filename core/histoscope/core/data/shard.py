"""A shard: encoded images of one source in an Arrow IPC file, memory-mapped, read at random.

Every reader of a store decodes its images here, so there is one result.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal

import imagecodecs
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoscope.core.errors import DataError, UsageError
from histoscope.core.files import atomic_path, check_readable, digest_of_bytes

Encoding = Literal["jpeg", "lossless"]

JPEG_QUALITY = 95
ROWS_A_BATCH = 256
LOOKED_AT = 16  # images whose bytes are in a fingerprint
SCHEMA = pa.schema(
    [pa.field("image", pa.large_binary(), nullable=False)],
    metadata={"format": "histoscope.shard", "version": "1"},
)


def write_shard(path: Path, images: Iterable[bytes], told: Mapping[str, str] | None = None) -> int:
    """Write encoded images in order; returns how many. The file appears whole or not at all.

    Args:
        path: of the file.
        images: encoded.
        told: what its schema says beside format and version.
    """
    count, pending = 0, list[bytes]()
    schema = SCHEMA.with_metadata({**SCHEMA.metadata, **(told or {})})
    with (
        atomic_path(path) as part,
        pa.OSFile(str(part), "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
    ):
        for image in images:
            pending.append(image)
            count += 1
            if len(pending) == ROWS_A_BATCH:
                writer.write_batch(_batch(pending, schema))
                pending = []
        if pending:
            writer.write_batch(_batch(pending, schema))
    return count


def _batch(images: list[bytes], schema: pa.Schema) -> pa.RecordBatch:
    return pa.record_batch([pa.array(images, pa.large_binary())], schema=schema)


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
        except (pa.ArrowInvalid, OSError) as fault:
            if getattr(fault, "errno", None) in (errno.EMFILE, errno.ENFILE):
                raise UsageError(
                    f"{path}: this machine lets the program open no more files at once; allow more "
                    "(ulimit -n), and the same command goes on"
                ) from None
            raise _damaged(path) from None

    @cached_property
    def told(self) -> dict[str, str]:
        """What its schema says."""
        found = self._reader.schema.metadata or {}
        return {name.decode(): value.decode() for name, value in found.items()}

    @cached_property
    def rows(self) -> int:
        """How many images it holds. Raises DataError: damaged."""
        last = self._reader.num_record_batches - 1
        return last * ROWS_A_BATCH + self._batch(last).num_rows if last >= 0 else 0

    def fingerprint(self) -> str:
        """Digest of the length of every image and of the bytes of some, 16 hex digits.

        Cheap, as the images are not read: two shards of one fingerprint have as many images, each
        as long as the other's, and the same bytes in those that were looked at.

        Raises:
            DataError: damaged.
        """
        batches = [self._batch(at) for at in range(self._reader.num_record_batches)]
        lengths = [
            memoryview(one.column(0).buffers()[1])[: 8 * one.num_rows + 8] for one in batches
        ]
        places = np.linspace(0, max(0, self.rows - 1), min(self.rows, LOOKED_AT)).round()
        looked_at = [self.data(int(at)) for at in places]
        return digest_of_bytes([*(bytes(one) for one in lengths), *looked_at])

    def _batch(self, at: int) -> pa.RecordBatch:
        try:
            return self._reader.get_batch(at)
        except (pa.ArrowInvalid, OSError):
            raise _damaged(self._path) from None

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
    whole = np.ascontiguousarray(image)
    if encoding == "jpeg":
        return bytes(imagecodecs.jpeg8_encode(whole, level=JPEG_QUALITY, subsampling="444"))
    return bytes(imagecodecs.webp_encode(whole, lossless=True))


def decode(data: bytes) -> NDArray[np.uint8]:
    """Decode what :func:`encode` wrote; uint8 (height, width, 3), RGB."""
    image = (
        imagecodecs.jpeg8_decode(data) if data[:2] == b"\xff\xd8" else imagecodecs.webp_decode(data)
    )
    return np.ascontiguousarray(image[..., :3])
