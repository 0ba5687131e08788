"""Features of many images of a store: each is encoded once by one encoder, whoever asks.

They are kept beside the store in one folder a network, device and precision, ``features/<key>``; in
it Arrow files, one a call that encoded anything, each row an image's digest and its features. They
may be deleted at any time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histoscope.core.contracts import Sample
from histoscope.core.data.given import GivenStore
from histoscope.core.data.store import Store
from histoscope.core.errors import CannotWrite
from histoscope.core.files import atomic_path
from histoscope.core.inference.runner import BATCH, Runner
from histoscope.core.progress import Progress
from histoscope.core.runtime.ahead import read_ahead

FOLDER = "features"  # of a store
KEPT_AT_ONCE = 256 * BATCH  # what an interruption may lose
KEPT = {b"format": b"histoscope.kept-features", b"version": b"1"}
DIGEST_BYTES = 16


class FeatureCache:
    """What one network gave for the images of a store.

    Args:
        folder: ``features/<key>`` of the store; the key names network, device and precision.
        dim: width of a feature row.
        progress: told of files that cannot be read or written.
    """

    def __init__(self, folder: Path, dim: int, progress: Progress) -> None:
        self._folder, self._dim, self._progress = folder, dim, progress

    def find(self, digests: Sequence[bytes]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Which images are known, (images,), and their features, 0 where not, (images, dim)."""
        wanted = pa.array(digests, pa.binary(DIGEST_BYTES))
        known = np.zeros(len(digests), bool)
        features = np.zeros((len(digests), self._dim), np.float32)
        for file in sorted(self._folder.glob("*.arrow")):
            table = self._read(file)
            if table is None:
                continue
            at = pc.index_in(wanted, value_set=table.column("image").combine_chunks())
            here = at.is_valid().to_numpy(zero_copy_only=False)
            kept = table.column("features").combine_chunks()
            rows = kept.values.to_numpy().reshape(-1, self._dim)
            features[here] = rows[at.drop_null().to_numpy()]
            known |= here
        return known, features

    def _read(self, file: Path) -> pa.Table | None:
        try:
            table = pa.ipc.open_file(pa.memory_map(str(file))).read_all()
        except (pa.ArrowInvalid, OSError) as fault:
            self._progress.say(f"{file}: kept features cannot be read ({fault}); encoded anew")
            return None
        if not table.schema.equals(self._schema(), check_metadata=True):
            self._progress.say(f"{file}: kept features of another version; encoded anew")
            return None
        return table

    def _schema(self) -> pa.Schema:
        fields = [
            ("image", pa.binary(DIGEST_BYTES)),
            ("features", pa.list_(pa.float32(), self._dim)),
        ]
        return pa.schema(fields, KEPT)

    def keep(self, digests: Sequence[bytes], features: NDArray[np.float32]) -> None:
        """Write what was encoded; a store that cannot be written keeps nothing, and says so."""
        name = hashlib.blake2b(b"".join(digests), digest_size=8).hexdigest()
        values = pa.FixedSizeListArray.from_arrays(features.ravel(), self._dim)
        images = pa.array(digests, pa.binary(DIGEST_BYTES))
        try:
            with (
                atomic_path(self._folder / f"{name}.arrow") as part,
                pa.OSFile(str(part), "wb") as sink,
                pa.ipc.new_file(sink, self._schema()) as writer,
            ):
                writer.write_table(pa.table([images, values], schema=self._schema()))
        except CannotWrite as fault:
            self._progress.say(f"{self._folder}: features are not kept ({fault.why})")


def features_of(
    runner: Runner, store: Store, rows: NDArray[np.int64], progress: Progress
) -> NDArray[np.float32]:
    """Features of index rows, (rows, dim), float32, in order; those kept beside the store first.

    Features of another program are as they were given.
    """
    if isinstance(store, GivenStore):
        return store.features(rows)
    reader = store.reader
    cache = FeatureCache(store.path / FOLDER / runner.key, runner.dim, progress)
    images = (reader.data(int(row)) for row in rows)
    digests = [hashlib.blake2b(one, digest_size=DIGEST_BYTES).digest() for one in images]
    known, features = cache.find(digests)
    missing = np.flatnonzero(~known)
    if len(missing) < len(rows):
        progress.say(f"{len(rows) - len(missing)} of {len(rows)} images were encoded before")
    progress.start("features", len(missing), "images")
    for start in range(0, len(missing), KEPT_AT_ONCE):
        part = missing[start : start + KEPT_AT_ONCE]
        samples = read_ahead((Sample(reader.image(int(rows[at]))) for at in part), 2 * BATCH)
        done = 0
        for batch in runner.run(samples):
            features[part[done : done + len(batch.samples)]] = batch.features
            done += len(batch.samples)
            progress.advance(len(batch.samples))
        cache.keep([digests[at] for at in part], features[part])
    progress.finish()
    return features
