"""Moments of an operation as they were recorded, and when they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoscope.core.contracts import CloseUp, CorruptSample, Course
from histoscope.domains.surgery.operation_reader import OperationReader
from histoscope.domains.surgery.timeline import EXACT_S, clock


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


def stills(
    reader: OperationReader, rows: pa.Table, places: Sequence[int]
) -> Iterator[NDArray[np.uint8] | CorruptSample]:
    """Whole frames, one at a time, in one pass."""
    return reader.whole_pictures(rows.column("frame").take(places).to_numpy())


def course(reader: OperationReader, rows: pa.Table) -> Course:
    """Each sampled frame counts from the moment that it stands for: a multiple of the interval."""
    fps = reader.fps
    moment = np.floor((rows.column("at_s").to_numpy() + EXACT_S) * fps)
    return Course(moment / fps, reader.length_s)
