"""Features in HDF5, as all layouts have them: ``features`` and where on the slide each tile lies.

``complete`` on the file is written last. Row chunks of 256 are read seven times faster than
TRIDENT's of 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import h5py
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoscope.core.contracts import Features, Reader, Scalar
from histoscope.core.errors import DataError
from histoscope.core.files import atomic_path
from histoscope.domains.pathology.options import TileSampling
from histoscope.domains.pathology.tiling import PLACE

CHUNK_ROWS = 256
NOMINAL = 0.02  # a magnification this near to a whole number is that number
FORMAT = ("histoscope.features-h5", 1)
Attributes = Mapping[str, Any]


@runtime_checkable
class Cut(Protocol):
    """A reader of a slide, which knows how it is cut."""

    facts: Mapping[str, Scalar]
    sampling: TileSampling


def write_hdf5(
    path: Path,
    features: Features,
    said: Attributes,
    places: tuple[str, NDArray[np.generic], Attributes],
    of_file: Attributes | None = None,
) -> None:
    """Write one file.

    Args:
        path: of the file.
        features: of one slide.
        said: attributes of ``features``; None leaves one away.
        places: name of the dataset that says where tiles lie, its rows and its attributes.
        of_file: attributes of the file beside format, version, ``weights`` and ``complete``.

    Raises:
        DataError: rows and features differ in number.
    """
    if len(features.rows) != len(features.vectors):
        raise DataError(f"{len(features.vectors)} rows of features for {len(features.rows)} tiles")
    with atomic_path(path) as part, h5py.File(part, "w") as file:
        file.attrs["format"], file.attrs["version"] = FORMAT
        said_of_file = {**(of_file or {}), "weights": features.weights}
        for key, value in said_of_file.items():
            file.attrs[key] = value
        _dataset(file, "features", features.vectors.astype(np.float32), said)
        _dataset(file, *places)
        file.attrs["complete"] = True


def _dataset(
    file: h5py.File, name: str, values: NDArray[np.generic], attributes: Attributes
) -> None:
    rows = min(CHUNK_ROWS, len(values))
    chunks = (rows, *values.shape[1:]) if rows else None
    made = file.create_dataset(name, data=values, chunks=chunks)
    for key, value in attributes.items():
        if value is not None:
            made.attrs[key] = value


def corners(rows: pa.Table) -> NDArray[np.int64]:
    """Upper left corners of tiles, px at level 0, x and y, (tiles, 2)."""
    return np.stack([rows.column(n).to_numpy() for n in PLACE[:2]], 1).astype(np.int64)


def cut_of(reader: Reader, rows: pa.Table) -> dict[str, Any]:
    """TRIDENT's words for how tiles were cut, only what is known."""
    facts = reader.facts
    said: dict[str, Any] = {
        "level0_width": facts.get("width_level0_px"),
        "level0_height": facts.get("height_level0_px"),
        "level0_mpp_x": facts.get("mpp_x"),
        "level0_mpp_y": facts.get("mpp_y"),
    }
    if isinstance(reader, Cut):
        cut = reader.sampling
        said["patch_size"] = cut.size_px
        said["overlap"] = overlap_px(cut)
        said["target_mpp"] = cut.tile_mpp
    if len(rows):
        width, height = (rows.column(name)[0].as_py() for name in PLACE[2:])
        said |= spanned(width, height)
    return said


def spanned(width: float, height: float) -> dict[str, Any]:
    """TRIDENT's word for what a tile spans, px at level 0; the height where it differs."""
    other = {} if height == width else {"patch_height_level0": whole(height)}
    return {"patch_size_level0": whole(width), **other}


def overlap_px(cut: TileSampling) -> int:
    """By how much neighbours overlap, px of the tile; negative for a gap."""
    return cut.size_px - (cut.stride_px or cut.size_px)


def whole(value: float) -> int | float:
    """A whole number as one."""
    return int(value) if value == int(value) else value


def nominal(value: float) -> int | float:
    """The whole magnification that is meant, where one is near."""
    near = round(value)
    return near if near and abs(value / near - 1) <= NOMINAL else value
