"""Which samples lie near each other, and which samples the loader reads beside one.

A table of relations has one row a pair and direction: ``row`` and ``other`` (int64, rows of the
index it was made of), ``kind`` (``partner``: may be taken for a positive; ``same``: shows so nearly
the same that it is never a negative) and ``distance`` (float64, in the domain's unit).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from histoscope.core.errors import DataError
from histoscope.core.randomness import generator

NOBODY = -1


def near_pairs(
    sources: Sequence[str], places: NDArray[np.float64], within: Mapping[str, float]
) -> pa.Table:
    """Pairs of samples of one source whose places differ by no more than a distance.

    Args:
        sources: of each sample.
        places: (samples, axes); NaN where a sample has no place, and so no neighbour. The distance
            is the largest along an axis.
        within: by kind the largest distance; 0: none.

    Returns:
        A table of relations.
    """
    _, source = np.unique(np.asarray(sources, dtype=str), return_inverse=True)
    known = np.flatnonzero(np.isfinite(places).all(axis=1))
    farthest = max(within.values(), default=0.0)
    pairs = np.zeros((0, 2), np.int64)
    if farthest > 0 and len(known) > 1:
        apart = source[known, None] * (4 * farthest + 1)  # another source is never near
        tree = cKDTree(np.concatenate([places[known], apart], axis=1))
        pairs = known[tree.query_pairs(farthest, p=np.inf, output_type="ndarray")]
    both = np.concatenate([pairs, pairs[:, ::-1]])
    distance = np.abs(places[both[:, 0]] - places[both[:, 1]]).max(axis=1, initial=0)
    parts = []
    for kind, most in within.items():
        kept = distance <= most if most > 0 else np.zeros(len(both), bool)
        columns = {"row": both[kept, 0], "other": both[kept, 1]}
        kinds = pa.array([kind] * int(kept.sum()), pa.string())
        parts.append(pa.table({**columns, "kind": kinds, "distance": distance[kept]}))
    whole = pa.concat_tables(parts)
    return whole.sort_by([("row", "ascending"), ("kind", "ascending"), ("other", "ascending")])


class Partners:
    """Which partners of a sample the loader reads.

    Args:
        relations: a table of relations, by dataset index.
        samples: of the data set.
        count: partners a sample.
        seed: of the run.
    """

    def __init__(self, relations: pa.Table, samples: int, count: int, seed: int) -> None:
        mine = relations.filter(pc.equal(relations.column("kind"), "partner"))
        mine = mine.sort_by([("row", "ascending"), ("other", "ascending")])
        rows = mine.column("row").to_numpy()
        self._others = mine.column("other").to_numpy()
        self._ends = np.cumsum(np.bincount(rows, minlength=samples))
        self._seed, self.count = seed, count
        self.held = int((np.diff(self._ends, prepend=0) > 0).sum())

    def of(self, sample: int, epoch: int) -> NDArray[np.int64]:
        """Drawn partners, (count,), each at most once; -1 where a sample has fewer."""
        others = self._others[self._ends[sample - 1] if sample else 0 : self._ends[sample]]
        order = generator(self._seed, "partners", epoch, sample).permutation(len(others))
        out = np.full(self.count, NOBODY, np.int64)
        chosen = others[order[: self.count]]
        out[: len(chosen)] = chosen
        return out


class Donors:
    """Which second images of a sample the loader reads as donors: any other of the data set.

    Args:
        samples: of the data set, two at least.
        count: donors a sample.
        seed: of the run.

    Raises:
        DataError: there is no other sample.
    """

    def __init__(self, samples: int, count: int, seed: int) -> None:
        if samples < 2:
            raise DataError("donors: one sample is all there is; others are needed")
        self._samples, self._seed, self.count = samples, seed, count

    def of(self, sample: int, epoch: int) -> NDArray[np.int64]:
        """Drawn donors, (count,), never the sample itself."""
        rng = generator(self._seed, "donors", epoch, sample)
        others = rng.integers(self._samples - 1, size=self.count)
        return np.asarray(others + (others >= sample), np.int64)
