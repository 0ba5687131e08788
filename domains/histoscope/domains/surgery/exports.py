"""Features of one operation in a form that temporal models of any group read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoscope.core.contracts import Artefact, Scalar
from histoscope.core.files import atomic_path, write_csv


def export_features(
    rows: pa.Table, features: NDArray[np.float32], attributes: Mapping[str, Scalar], out: Path
) -> Sequence[Artefact]:
    """Write ``NAME.npy``, float32 (frames, dim), and ``NAME.csv`` with the moment of each row.

    Args:
        rows: one row a frame that could be read.
        features: one row a row.
        attributes: ``name`` names the files; default: the name of ``out``.
        out: folder of the files.
    """
    name = str(attributes.get("name") or out.name)
    with atomic_path(out / f"{name}.npy") as part, part.open("wb") as handle:
        np.save(handle, features.astype(np.float32))
    write_csv(out / f"{name}.csv", rows.select(["at_s", "frame", "pts", "part"]))
    return [
        Artefact(f"{name}.npy", "data", "Features", "float32, one row a frame of the table."),
        Artefact(f"{name}.csv", "data", "Moments", "Time and frame number of each row."),
    ]
