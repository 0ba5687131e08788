"""Moments of an operation as they were recorded."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from histoscope.core.contracts import CloseUp, CorruptSample
from histoscope.domains.surgery.operation_reader import OperationReader
from histoscope.domains.surgery.timeline import clock


def close_ups(
    reader: OperationReader, rows: pa.Table, places: Sequence[int]
) -> Sequence[CloseUp | CorruptSample]:
    """Whole frames, with the time of each; what surrounds them is before and after."""
    some = rows.select(["frame", "at_s"]).take(places)
    frames, times = (some.column(name).to_pylist() for name in ("frame", "at_s"))
    return [
        one
        if isinstance(one, CorruptSample)
        else CloseUp(one, (0, 0, one.shape[1], one.shape[0]), f"{clock(at_s)} (frame {frame})")
        for one, frame, at_s in zip(reader.pictures(frames), frames, times, strict=True)
    ]
