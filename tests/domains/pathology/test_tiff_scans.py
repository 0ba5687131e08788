"""Several images in one TIFF: each scan a source, with its own pixels and scale; the rest said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from histoscope.core.contracts import Reader, Sample
from histoscope.core.errors import UnreadableSource
from histoscope.domains.pathology import DOMAIN
from histoscope.domains.pathology.options import PrepareOptions, TileSampling

CUT = TileSampling(size_px=32, tile_mpp=0.5, min_tissue=0)


def pixels(seed: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(100, 256, (size[1], size[0], 3)).astype(np.uint8)


def ome_size(mpp: float | str | None, unit: str = "µm") -> dict[str, Any]:
    if mpp is None:
        return {}
    axes = ("X", "Y")
    return {f"PhysicalSize{a}": mpp for a in axes} | {f"PhysicalSize{a}Unit": unit for a in axes}


def write(path: Path, images: Sequence[tuple[str, tuple[int, int], float | None]]) -> None:
    """An OME-TIFF: name, width and height, and scale of each image."""
    with tifffile.TiffWriter(path, ome=True) as out:
        for seed, (name, size, mpp) in enumerate(images):
            said = {"axes": "YXS", "Name": name, **ome_size(mpp)}
            out.write(pixels(seed, size), photometric="rgb", tile=(32, 32), metadata=said)


def read(place: Path, **options: Any) -> dict[str, tuple[Reader, str]]:
    """Open readers and notes by path; the caller leaves them open."""
    roots = {"input": place}
    found = DOMAIN.find(roots, PrepareOptions.model_validate(options))
    return {one.path: (DOMAIN.open(one, roots, CUT), one.note) for one in found}


def first_tile(reader: Reader) -> NDArray[np.uint8]:
    with reader:
        (one,) = reader.read(reader.plan().rows.slice(0, 1))
    assert isinstance(one, Sample)
    return one.image


def test_each_of_two_scanned_regions_is_a_source_with_its_own_scale(tmp_path: Path) -> None:
    write(tmp_path / "a.ome.tif", [("1", (96, 64), 0.5), ("2", (80, 96), 0.25)])
    found = read(tmp_path)
    assert list(found) == ["a.ome.tif", "a.ome.tif#2"]
    (one, note_1), (two, note_2) = found.values()
    assert (one.facts["mpp_x"], two.facts["mpp_x"]) == (0.5, 0.25)
    assert ("image 1 of its file" in note_1, "image 2 of its file" in note_2) == (True, True)
    assert (first_tile(one) == pixels(0, (96, 64))[:32, :32]).all()
    mean = pixels(1, (80, 96))[:64, :64].reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    assert np.abs(first_tile(two) - mean).max() <= 0.5


@pytest.mark.parametrize(
    ("beside", "reason"),
    [
        (("macro", (200, 42), 16.0), "macro"),
        (("", (200, 42), 16.0), "16 um/px, an overview"),
        (("label image", (200, 200), None), "label"),
        (("", (200, 42), None), "no scale of its own"),
        (("", (48, 32), 1.0), "a smaller copy"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_what_lies_beside_a_scan_gives_neither_pixels_nor_scale_and_is_said(
    tmp_path: Path, beside: tuple[str, tuple[int, int], float | None], reason: str, first: bool
) -> None:
    scan = ("scan", (96, 64), 0.5)
    write(tmp_path / "a.ome.tif", [beside, scan] if first else [scan, beside])
    ((reader, note),) = read(tmp_path).values()
    assert (reader.facts["mpp_x"], reader.facts["width_level0_px"]) == (0.5, 96)
    assert (first_tile(reader) == pixels(int(first), (96, 64))[:32, :32]).all()
    number = 1 if first else 2
    width, height = beside[1]
    assert note == f"not read: image {number} ({width} x {height} px, {reason})"


def test_a_list_of_scales_names_one_region_or_the_file(tmp_path: Path) -> None:
    write(tmp_path / "a.ome.tif", [("1", (96, 64), None), ("2", (80, 96), None)])
    (tmp_path / "mpp.csv").write_text("slide,mpp\na.ome.tif,0.5\na.ome.tif#2,0.25\n")
    readers = [
        one for one, _ in read(tmp_path / "a.ome.tif", mpp_csv=tmp_path / "mpp.csv").values()
    ]
    assert [one.facts["mpp_x"] for one in readers] == [0.5, 0.25]
    for reader in readers:
        with reader:
            assert reader.facts["mpp_source"] == "mpp-csv"


def write_ome(path: Path, said: dict[str, Any]) -> None:
    options: dict[str, Any] = {"photometric": "rgb", "tile": (32, 32)}
    tifffile.imwrite(
        path, pixels(0, (96, 64)), ome=True, metadata={"axes": "YXS", **said}, **options
    )


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (ome_size("0,499"), "PhysicalSizeX '0,499' is no number"),
        (ome_size("NaN"), "PhysicalSizeX 'NaN' is no size"),
        (ome_size(0.5, "pixel"), "the unit of PhysicalSizeX, 'pixel', is no length"),
        ({"PhysicalSizeX": 0.5}, "it has only X"),
        (ome_size(-1.0), "-1 um/px cannot be the scale"),
    ],
)
def test_a_scale_that_cannot_be_read_is_a_missing_one_and_both_options_work(
    tmp_path: Path, open_one: Callable[..., Reader], said: dict[str, Any], reason: str
) -> None:
    write_ome(tmp_path / "a.ome.tif", said)
    with pytest.raises(UnreadableSource, match=f"{reason}.*; give --default-mpp or --mpp-csv"):
        open_one(tmp_path / "a.ome.tif", CUT)
    (tmp_path / "mpp.csv").write_text("slide,mpp\na.ome.tif,0.5\n")
    for option in ({"default_mpp": 0.5}, {"mpp_csv": tmp_path / "mpp.csv"}):
        with open_one(tmp_path / "a.ome.tif", CUT, **option) as reader:
            assert reader.facts["mpp_x"] == 0.5
            assert reason in reader.plan().reason


@pytest.mark.parametrize(
    ("value", "unit"),
    [(500, "nm"), (5000, "Å"), (5e5, "pm"), (5e-4, "mm"), (5e-5, "cm"), (0.5 / 25400, "in")],
)
def test_lengths_of_every_unit_are_read(
    tmp_path: Path, open_one: Callable[..., Reader], value: float, unit: str
) -> None:
    write_ome(tmp_path / "a.ome.tif", ome_size(value, unit))
    with open_one(tmp_path / "a.ome.tif", CUT) as reader:
        assert reader.facts["mpp_x"] == pytest.approx(0.5)


@pytest.mark.parametrize("way", [{"tile": (32, 32)}, {"rowsperstrip": 24}])
def test_imagejs_unit_of_the_resolution_tags_is_known(
    tmp_path: Path, open_one: Callable[..., Reader], way: dict[str, Any]
) -> None:
    said = "ImageJ=1.53t\nunit=\\u00B5m\n"
    options = {"photometric": "rgb", "metadata": None, "description": said, **way}
    tifffile.imwrite(
        tmp_path / "a.tif", pixels(0, (96, 64)), resolution=(2, 2), resolutionunit="NONE", **options
    )
    with open_one(tmp_path / "a.tif", CUT) as reader:
        assert reader.facts["mpp_x"] == pytest.approx(0.5)
