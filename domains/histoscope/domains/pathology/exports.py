"""Features of one source in the HDF5 layout that TRIDENT writes and CLAM reads.

``features`` float32 (N, D) and ``coords`` int64 (N, 2): x and y of each tile's upper left corner
at level 0. Differs from TRIDENT: row chunks of 256 instead of 1 (seven times faster to read),
``name`` is opaque, ``savetodir`` is empty (it would tell a folder's name), and magnifications are
written only where the file states one. ``complete`` on the file is written last. Pictures of a
labelled set lie nowhere on a slide: they have ``item``, their position in the set, and no
``coords``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import h5py
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoscope.core.contracts import Artefact, Reader, Scalar
from histoscope.core.errors import DataError
from histoscope.core.files import atomic_path
from histoscope.domains.pathology.options import TileSampling
from histoscope.domains.pathology.tiling import PLACE, has_places

CHUNK_ROWS = 256
NOMINAL = 0.02  # a magnification this near to a whole number is that number
FORMAT = ("histoscope.features-h5", 1)


@runtime_checkable
class Cut(Protocol):
    """A reader of a slide, which knows how it is cut."""

    facts: Mapping[str, Scalar]
    sampling: TileSampling


def export_features(
    reader: Reader,
    rows: pa.Table,
    features: NDArray[np.float32],
    attributes: Mapping[str, Scalar],
    out: Path,
) -> Sequence[Artefact]:
    """Write ``NAME.h5``.

    Args:
        reader: the open slide or set.
        rows: one row a tile that could be read.
        features: (tiles, dim), one row a row.
        attributes: of ``features``; ``name`` (default: the name of ``out``) names the file.
        out: folder of the file.

    Raises:
        DataError: rows and features differ in number, or ``name`` is no plain file name.
    """
    if len(rows) != len(features):
        raise DataError(f"{len(features)} rows of features for {len(rows)} tiles")
    name = str(attributes.get("name") or out.name)
    if name in {"", ".", ".."} or set(name) & set("/\\:"):
        raise DataError(f"{name!r}: not a plain name for a file of features")
    common: dict[str, Scalar] = {"name": name, "savetodir": ""}
    said = {**attributes, **common, "encoder": attributes.get("encoder") or "None"}
    with atomic_path(out / f"{name}.h5") as part, h5py.File(part, "w") as file:
        file.attrs["format"], file.attrs["version"] = FORMAT
        _dataset(file, "features", features.astype(np.float32), said)
        if has_places(rows) or (isinstance(reader, Cut) and not len(rows)):
            corners = np.stack([rows.column(n).to_numpy() for n in PLACE[:2]], 1).astype(np.int64)
            _dataset(file, "coords", corners, {**common, **_patch(reader, rows)})
        else:
            _dataset(file, "item", rows.column("item").to_numpy(), common)
        file.attrs["complete"] = True
    caption = "float32 features and level-0 corners, laid out as TRIDENT's and CLAM's."
    return [Artefact(f"{name}.h5", "data", "Features", caption)]


def _dataset(
    file: h5py.File, name: str, values: NDArray[np.generic], attributes: Mapping[str, Scalar]
) -> None:
    rows = min(CHUNK_ROWS, len(values))
    chunks = (rows, *values.shape[1:]) if rows else None
    made = file.create_dataset(name, data=values, chunks=chunks)
    for key, value in attributes.items():
        if value is not None:
            made.attrs[key] = value


def _patch(reader: Reader, rows: pa.Table) -> dict[str, Scalar]:
    """TRIDENT's words for how tiles were cut, only what is known."""
    facts = reader.facts
    said: dict[str, Scalar] = {
        "level0_width": facts.get("width_level0_px"),
        "level0_height": facts.get("height_level0_px"),
        "level0_mpp_x": facts.get("mpp_x"),
        "level0_mpp_y": facts.get("mpp_y"),
    }
    if isinstance(reader, Cut):
        cut = reader.sampling
        said["patch_size"] = cut.size_px
        said["overlap"] = cut.size_px - (cut.stride_px or cut.size_px)
        said["target_mpp"] = cut.tile_mpp
    if len(rows):
        width, height = (rows.column(name)[0].as_py() for name in PLACE[2:])
        said["patch_size_level0"] = _whole(width)
        if height != width:
            said["patch_height_level0"] = _whole(height)
        power = facts.get("objective_power")
        if isinstance(power, int | float) and power > 0 and isinstance(reader, Cut):
            said["level0_magnification"] = _whole(float(power))
            said["target_magnification"] = _nominal(power * reader.sampling.size_px / width)
    return said


def _whole(value: float) -> int | float:
    return int(value) if value == int(value) else value


def _nominal(value: float) -> int | float:
    near = round(value)
    return near if near and abs(value / near - 1) <= NOMINAL else value
