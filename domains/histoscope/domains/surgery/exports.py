"""Features of operations, as NumPy reads them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from histoscope.core.contracts import Features, Reader
from histoscope.core.files import write_bytes, write_csv


@dataclass(frozen=True)
class FrameExport:
    """``<id>.npy``, float32 (frames, dim), and ``<id>.csv`` with the moment of each row."""

    def write(self, reader: Reader, features: Features, out: Path) -> None:
        """Write the features of one operation."""
        name = features.source.id
        data = io.BytesIO()
        np.save(data, features.vectors.astype(np.float32))
        write_bytes(out / f"{name}.npy", data.getbuffer())
        write_csv(out / f"{name}.csv", features.rows.select(["at_s", "frame", "pts", "part"]))
