"""A shard: encoded images of one source in an Arrow IPC file, memory-mapped, read at random."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from histoscope.core.errors import DataError
from histoscope.core.files import atomic_path

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
        try:
            self._reader = pa.ipc.open_file(pa.memory_map(str(path)))
        except FileNotFoundError:
            raise DataError(f"{path}: missing; copy the store again, or prepare it anew") from None
        except pa.ArrowInvalid:
            raise DataError(f"{path}: damaged; copy the store again, or prepare it anew") from None

    def data(self, row: int) -> bytes:
        """One encoded image."""
        batch = self._reader.get_batch(row // ROWS_A_BATCH)
        return bytes(batch.column(0)[row % ROWS_A_BATCH].as_py())
