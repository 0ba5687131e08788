"""Frames before and after one, as far as a store holds them."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from histoscope.core.contracts import Neighbour

LONGEST_S = 10.0  # a moment later than this is no context any more


def around(rows: pa.Table, place: int) -> Sequence[Neighbour]:
    """The sampled frame before and the one after, where they are near enough in time.

    Args:
        rows: all frames of one operation, ``at_s`` among their columns, in order.
        place: row of the frame.
    """
    at_s = rows.column("at_s")
    found = []
    for other, right in ((place - 1, -1.0), (place + 1, 1.0)):
        if 0 <= other < len(rows):
            apart = abs(at_s[other].as_py() - at_s[place].as_py())
            if apart <= LONGEST_S:
                found.append(Neighbour(other, right, 0.0))
    return found
