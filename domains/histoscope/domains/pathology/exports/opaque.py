"""Features under opaque ids, in the HDF5 layout that TRIDENT writes and CLAM reads.

``features`` float32 (N, D) and ``coords`` int64 (N, 2): x and y of each tile's upper left corner
at level 0. Differs from TRIDENT: ``name`` is opaque, ``savetodir`` is empty (it would tell a
folder's name), and magnifications are written only where the file states one. Pictures of a
labelled set lie nowhere on a slide: they have ``item``, their position in the set, and no
``coords``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from histoscope.core.contracts import Features, Reader
from histoscope.domains.pathology.exports.hdf5 import (
    Cut,
    corners,
    cut_of,
    nominal,
    whole,
    write_hdf5,
)
from histoscope.domains.pathology.tiling import PLACE, has_places


@dataclass(frozen=True)
class OpaqueExport:
    """``<id>.h5`` in the source's own folder."""

    encoder: str

    def write(self, reader: Reader, features: Features, out: Path) -> None:
        """Write the features of one slide or set."""
        rows, name = features.rows, features.source.id
        common = {"name": name, "savetodir": ""}
        if has_places(rows) or (isinstance(reader, Cut) and not len(rows)):
            cut = {**common, **cut_of(reader, rows), **_stated_power(reader, rows)}
            places = ("coords", corners(rows), cut)
        else:
            places = ("item", rows.column("item").to_numpy(), common)
        said = {"name": name, "encoder": self.encoder, "savetodir": ""}
        write_hdf5(out / f"{name}.h5", features, said, places)


def _stated_power(reader: Reader, rows: pa.Table) -> dict[str, Any]:
    """Magnifications where the file states one."""
    power = reader.facts.get("objective_power")
    if not (isinstance(power, int | float) and power > 0 and isinstance(reader, Cut) and len(rows)):
        return {}
    width = rows.column(PLACE[2])[0].as_py()
    target = nominal(power * reader.sampling.size_px / width)
    return {"level0_magnification": whole(float(power)), "target_magnification": target}
