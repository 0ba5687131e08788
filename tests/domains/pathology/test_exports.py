"""Features under opaque ids, in the HDF5 layout of TRIDENT and CLAM."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pytest

from histoscope.core.contracts import Features, Reader, Scalar, Source
from histoscope.core.errors import DataError
from histoscope.domains.pathology.exports.opaque import OpaqueExport
from histoscope.domains.pathology.options import TileSampling


class CutReader:
    """What an export asks of a slide's reader."""

    divisible = True

    def __init__(self, power: float | None = 20.0, stride: int | None = None) -> None:
        self.facts: Mapping[str, Scalar] = {
            "width_level0_px": 40000,
            "height_level0_px": 30000,
            "mpp_x": 0.499,
            "mpp_y": 0.499,
            "objective_power": power,
        }
        self.sampling = TileSampling(size_px=224, tile_mpp=1.0, stride_px=stride)


class SetOfPictures:
    """A labelled set: pictures without a place."""

    divisible = True
    facts: Mapping[str, Scalar] = {"mpp_x": 0.5}


SPAN = 224 / 0.499


def rows(count: int) -> pa.Table:
    return pa.table(
        {
            "x_level0_px": pa.array([7 + 449 * place for place in range(count)], pa.int64()),
            "y_level0_px": pa.array([11] * count, pa.int64()),
            "width_level0_px": pa.array([SPAN] * count, pa.float64()),
            "height_level0_px": pa.array([SPAN] * count, pa.float64()),
            "item": pa.nulls(count, pa.int64()),
        }
    )


def features(count: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 18)).astype(np.float32)


ID = "0123456789abcdef"


def write(out: Path, table: pa.Table, vectors: np.ndarray, reader: object = None) -> Path:
    export = OpaqueExport("timm:resnet18")
    export.write(reader or CutReader(), Features(Source(ID, "a.svs"), table, vectors), out)  # type: ignore[arg-type]
    (file,) = out.iterdir()
    return file


def write_tiles(out: Path, count: int = 300, reader: object = None) -> Path:
    return write(out, rows(count), features(count), reader)


def test_features_and_corners_come_back(tmp_path):
    path = write_tiles(tmp_path)
    assert path.name == "0123456789abcdef.h5"
    with h5py.File(path) as file:
        assert file["features"].dtype == np.float32
        assert file["coords"].dtype == np.int64
        assert (file["features"][:] == features(300)).all()
        assert file["coords"][299].tolist() == [7 + 449 * 299, 11]
        assert file["features"].chunks == (256, 18)
        assert file.attrs["complete"]


def test_attributes_have_the_names_that_trident_reads(tmp_path):
    with h5py.File(write_tiles(tmp_path, reader=CutReader(stride=168))) as file:
        said = dict(file["coords"].attrs)
        assert said["patch_size"] == 224
        assert said["patch_size_level0"] == pytest.approx(SPAN)
        assert said["overlap"] == 56
        assert said["level0_magnification"] == 20
        assert said["target_magnification"] == 10
        assert said["level0_width"] == 40000
        assert said["level0_height"] == 30000
        assert said["name"] == "0123456789abcdef"
        assert said["savetodir"] == ""
        assert file["features"].attrs["encoder"] == "timm:resnet18"
        assert file["features"].attrs["name"] == "0123456789abcdef"


def test_a_magnification_that_the_file_does_not_state_is_not_written(tmp_path):
    with h5py.File(write_tiles(tmp_path, reader=CutReader(power=None))) as file:
        assert not [name for name in file["coords"].attrs if "magnification" in name]


def test_tiles_without_overlap_say_so(tmp_path):
    with h5py.File(write_tiles(tmp_path)) as file:
        assert file["coords"].attrs["overlap"] == 0


def test_a_slide_without_tiles_has_empty_arrays(tmp_path):
    with h5py.File(write_tiles(tmp_path, count=0)) as file:
        assert file["features"].shape == (0, 18)
        assert file["coords"].shape == (0, 2)
        assert file.attrs["complete"]


def test_a_picture_of_a_set_has_its_position_and_no_corner(tmp_path):
    table = rows(3)
    for name in ("x_level0_px", "y_level0_px", "width_level0_px", "height_level0_px"):
        at = table.column_names.index(name)
        table = table.set_column(at, name, pa.nulls(3, table.column(name).type))
    at = table.column_names.index("item")
    table = table.set_column(at, "item", pa.array([5, 6, 9], pa.int64()))
    with h5py.File(write(tmp_path, table, features(3), SetOfPictures())) as file:
        assert file["item"][:].tolist() == [5, 6, 9]
        assert "coords" not in file


def test_writing_again_gives_the_same_bytes(tmp_path):
    first = write_tiles(tmp_path / "a").read_bytes()
    assert write_tiles(tmp_path / "b").read_bytes() == first
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["0123456789abcdef.h5"]


def test_features_that_do_not_fit_the_rows_are_refused(tmp_path):
    with pytest.raises(DataError, match="2 rows of features for 3 tiles"):
        write(tmp_path, rows(3), features(2))


def test_the_real_reader_tells_how_it_cuts(
    coordinate_slide, open_one: Callable[..., Reader], tmp_path
):
    cut = TileSampling(size_px=64, tile_mpp=1.0, stride_px=32, min_tissue=0)
    with open_one(coordinate_slide.path, cut) as reader:
        planned = reader.plan().rows
        path = write(tmp_path, planned, features(len(planned)), reader)
    with h5py.File(path) as file:
        said = dict(file["coords"].attrs)
        assert (said["patch_size"], said["overlap"], said["patch_size_level0"]) == (64, 32, 256)
        assert said["patch_height_level0"] == pytest.approx(64 / 0.2525)
        assert (said["level0_width"], said["level0_height"]) == (4443, 1783)
        assert "level0_magnification" not in said
        assert file["coords"][1].tolist() == [128, 0]
