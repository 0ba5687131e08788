"""Features of many images of a store: each is encoded once by one encoder, whoever asks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from histoscope.core.contracts import Sample
from histoscope.core.data.store import Store
from histoscope.core.inference.cache import FeatureCache, digest_image
from histoscope.core.inference.runner import BATCH, Runner
from histoscope.core.progress import Progress
from histoscope.core.runtime.ahead import read_ahead

FOLDER = "features"  # of a store
KEPT_AT_ONCE = 256 * BATCH  # what an interruption may lose


def features_of(
    runner: Runner, store: Store, rows: NDArray[np.int64], progress: Progress
) -> NDArray[np.float32]:
    """Features of index rows, (rows, dim), float32, in order; those kept beside the store first."""
    reader = store.reader
    cache = FeatureCache(store.path / FOLDER / runner.key, runner.dim, progress)
    digests = [digest_image(reader.data(int(row))) for row in rows]
    known, features = cache.find(digests)
    missing = np.flatnonzero(~known)
    if len(missing) < len(rows):
        progress.say(f"{len(rows) - len(missing)} of {len(rows)} images were encoded before")
    progress.start("features", len(missing), "images")
    for start in range(0, len(missing), KEPT_AT_ONCE):
        part = missing[start : start + KEPT_AT_ONCE]
        images = read_ahead((Sample(reader.image(int(rows[at]))) for at in part), 2 * BATCH)
        done = 0
        for batch in runner.run(images):
            features[part[done : done + len(batch.samples)]] = batch.features
            done += len(batch.samples)
            progress.advance(len(batch.samples))
        cache.keep([digests[at] for at in part], features[part])
    progress.finish()
    return features
