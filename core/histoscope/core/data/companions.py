"""Which samples of one source the loader reads beside one, to be put in their order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from histoscope.core.data.relations import NOBODY
from histoscope.core.randomness import generator

ORDERED = "ordered"  # family of views of a sample and its companions


class Companions:
    """Samples of one source at different places of its order, each sample among its companions.

    Args:
        order: where each sample lies in its source, any increasing numbers, (samples,); NaN where
            that is unknown, and it has no companions. Samples at one place are never together.
        sources: of each sample.
        count: samples of a group, the sample itself among them.
        seed: of the run.

    Attributes:
        count: as above.
        held: samples that have a companion.
    """

    def __init__(
        self, order: NDArray[np.float64], sources: Sequence[str], count: int, seed: int
    ) -> None:
        self._seed, self.count = seed, count
        known = np.flatnonzero(np.isfinite(order))
        _, source = np.unique(np.asarray(sources, dtype=str), return_inverse=True)
        self._sorted = known[np.lexsort((known, order[known], source[known]))]
        its, at = source[self._sorted], order[self._sorted]
        new_source = np.diff(its, prepend=-1) != 0
        steps = new_source | (np.diff(at, prepend=np.nan) != 0)
        self._steps = np.append(np.flatnonzero(steps), len(at))  # where each place begins
        step_of = np.cumsum(steps) - 1
        begins = np.append(step_of[new_source], len(self._steps) - 1)  # first place of a source
        rank = np.cumsum(new_source) - 1
        self._step = np.full(len(order), NOBODY, np.int64)
        self._step[self._sorted] = step_of
        self._range = np.zeros((len(order), 2), np.int64)
        self._range[self._sorted] = np.stack([begins[rank], begins[rank + 1]], 1)
        self.held = int((np.diff(self._range, axis=1) > 1).sum())

    def of(self, sample: int, epoch: int, turn: int) -> NDArray[np.int64]:
        """A sample and drawn companions in their order, (count,); -1 behind the last.

        Args:
            sample: whose companions.
            epoch, turn: how often it was read, so that others come each time.
        """
        out = np.full(self.count, NOBODY, np.int64)
        own, (low, high) = self._step[sample], self._range[sample]
        if own == NOBODY:
            out[0] = sample
            return out
        rng = generator(self._seed, "companions", epoch, sample, turn)
        wanted = min(self.count - 1, high - low - 1)
        drawn = low + rng.choice(high - low - 1, wanted, replace=False)
        steps = np.sort(np.append(drawn + (drawn >= own), own))
        for place, step in enumerate(steps):
            first, end = self._steps[step : step + 2]
            mine = first + rng.integers(end - first)
            out[place] = sample if step == own else self._sorted[mine]
        return out
