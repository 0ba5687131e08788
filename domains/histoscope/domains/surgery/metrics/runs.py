"""Runs of equal label: the segments of a video."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from histoscope.domains.surgery.metrics.cells import Ints


class Runs(NamedTuple):
    """Segments in order: rows ``starts`` (included) to ``ends`` (not), and their label, (runs,)."""

    starts: Ints
    ends: Ints
    labels: Ints

    def of_rows(self) -> Ints:
        """Which segment each row lies in, (rows,)."""
        return np.repeat(np.arange(len(self.starts)), self.ends - self.starts)


def runs(labels: Ints) -> Runs:
    """Cut a sequence of labels, (rows,), where the label changes."""
    changes = np.flatnonzero(np.diff(labels)) + 1
    starts = np.concatenate([np.zeros(min(1, len(labels)), np.int64), changes])
    ends = np.concatenate([starts[1:], np.full(min(1, len(labels)), len(labels), np.int64)])
    return Runs(starts, ends, labels[starts])
