"""Where the samples of a source follow one another without a gap, as far as its domain tells."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoscope.core.contracts import Domain, Reviewable, Sequential


def stretches(domain: Domain | Reviewable, rows: pa.Table) -> NDArray[np.int64]:
    """Where each stretch begins, and the end, (stretches + 1,); one where the domain tells nothing.

    Args:
        domain: of the source.
        rows: readable samples of one source, in order, with the columns of their location.
    """
    if not len(rows):
        return np.zeros(1, np.int64)
    breaks = np.zeros(0, np.int64)
    if isinstance(domain, Sequential):
        breaks = np.flatnonzero(domain.breaks(rows)[1:]) + 1
    return np.concatenate([[0], breaks, [len(rows)]])
