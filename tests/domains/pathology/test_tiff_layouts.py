"""One picture in every way a TIFF can store it: the same tiles, or one line that names why not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from histoscope.core.contracts import Reader, Sample
from histoscope.core.errors import UnreadableSource
from histoscope.domains.pathology.options import TileSampling
from histoscope.domains.pathology.readers.choose import open_pyramid
from histoscope.domains.pathology.readers.tiff_scans import scans_in

CUT = TileSampling(size_px=32, tile_mpp=0.5, min_tissue=0)
SCALE = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
TILES, STRIPS = {"tile": (32, 32)}, {"rowsperstrip": 24}
ways = pytest.mark.parametrize("way", [TILES, STRIPS], ids=["tiles", "strips"])
OpenOne = Callable[..., Reader]


def picture() -> NDArray[np.uint8]:
    """Bright, every pixel and colour its own, (96, 128, 3)."""
    return np.random.default_rng(0).integers(100, 256, (96, 128, 3)).astype(np.uint8)


def tiles_of(reader: Reader) -> NDArray[np.uint8]:
    """All tiles put together as one picture."""
    rows = reader.plan().rows
    out = np.zeros((96, 128, 3), np.uint8)
    for row, one in zip(rows.to_pylist(), reader.read(rows), strict=True):
        assert isinstance(one, Sample)
        x, y = row["x_level0_px"], row["y_level0_px"]
        out[y : y + 32, x : x + 32] = one.image
    return out


def ome(**more: Any) -> dict[str, Any]:
    size = {f"PhysicalSize{axis}": 0.5 for axis in "XY"}
    return {**size, "PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm", **more}


def layouts() -> Mapping[str, tuple[NDArray[Any], dict[str, Any]]]:
    """Samples and how they are written."""
    rgb = picture()
    planes = np.ascontiguousarray(rgb.transpose(2, 0, 1))
    apart: dict[str, Any] = {"photometric": "rgb", "planarconfig": "separate"}
    wide = rgb.astype(np.uint16)
    fourth = np.zeros((96, 128, 1), np.uint8)
    cmyk = np.concatenate([255 - rgb, fourth], axis=2)
    unspecified = {"photometric": "rgb", "extrasamples": ["unspecified"]}
    return {
        "interleaved": (rgb, {"photometric": "rgb"}),
        "planar": (planes, {**apart, "compression": "zlib"}),
        "planar 16 bits": (np.ascontiguousarray((wide * 257).transpose(2, 0, 1)), apart),
        "16 bits": (wide * 257, {"photometric": "rgb"}),
        "cmyk": (cmyk, {"photometric": "separated"}),
        "a fourth sample that is no alpha": (np.concatenate([rgb, fourth], axis=2), unspecified),
    }


@ways
@pytest.mark.parametrize("name", layouts())
def test_layouts_give_the_same_tiles(
    tmp_path: Path, open_one: OpenOne, name: str, way: dict[str, Any]
) -> None:
    pixels, options = layouts()[name]
    tifffile.imwrite(tmp_path / "a.tif", pixels, metadata=None, **SCALE, **way, **options)
    with open_one(tmp_path / "a.tif", CUT) as reader:
        assert (tiles_of(reader) == picture()).all()


@ways
def test_a_palette_gives_its_colours(
    tmp_path: Path, open_one: OpenOne, way: dict[str, Any]
) -> None:
    index = np.random.default_rng(1).integers(0, 256, (96, 128)).astype(np.uint8)
    colours = np.random.default_rng(2).integers(100, 256, (3, 256)).astype(np.uint16)
    options = {"photometric": "palette", "colormap": colours * 257}
    tifffile.imwrite(tmp_path / "a.tif", index, metadata=None, **SCALE, **way, **options)
    with open_one(tmp_path / "a.tif", CUT) as reader:
        assert (tiles_of(reader) == colours.T[index]).all()


@ways
def test_luma_and_chroma_without_jpeg_become_rgb(
    tmp_path: Path, open_one: OpenOne, way: dict[str, Any]
) -> None:
    luma_chroma = Image.fromarray(picture()).convert("YCbCr")
    pixels, back = np.asarray(luma_chroma), np.asarray(luma_chroma.convert("RGB"), int)
    options = {"photometric": "ycbcr", "compression": "zlib", "metadata": None}
    tifffile.imwrite(tmp_path / "a.tif", pixels, **SCALE, **way, **options)
    with open_one(tmp_path / "a.tif", CUT) as reader:
        assert np.abs(tiles_of(reader) - back).max() <= 1  # Pillow's tables round otherwise


@ways
def test_12_bits_in_16_are_refused_unless_the_file_says_so(
    tmp_path: Path, open_one: OpenOne, way: dict[str, Any]
) -> None:
    twelve = np.rint(picture() * (4095 / 255)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", twelve, photometric="rgb", metadata=None, **SCALE, **way)
    with pytest.raises(UnreadableSource, match="how many bits are meant is not said"):
        open_one(tmp_path / "a.tif", CUT)
    told = [(281, 3, 3, (4095, 4095, 4095), True)]  # MaxSampleValue
    options = {"photometric": "rgb", "metadata": None, "extratags": told}
    tifffile.imwrite(tmp_path / "b.tif", twelve, **SCALE, **way, **options)
    with open_one(tmp_path / "b.tif", CUT) as reader:
        assert (tiles_of(reader) == picture()).all()


def write_channels(
    path: Path, planes: NDArray[Any], names: list[str] | None, way: dict[str, Any]
) -> None:
    """An OME-TIFF of one-sample planes, with a level in SubIFDs."""
    said = ome(axes="CYX", **({"Channel": {"Name": names}} if names else {}))
    options: dict[str, Any] = {"photometric": "minisblack", "compression": "zlib", **way}
    with tifffile.TiffWriter(path, ome=True) as out:
        out.write(planes, subifds=1, metadata=said, **options)
        small = np.ascontiguousarray(planes[:, ::2, ::2])
        out.write(small, subfiletype=1, metadata=None, **options)


@ways
@pytest.mark.parametrize(
    ("names", "order"),
    [(["Red", "Green", "Blue"], (0, 1, 2)), (["b", "g", "r"], (2, 1, 0)), (None, (0, 1, 2))],
)
def test_three_planes_of_one_sample_are_the_colours_that_they_are_called(
    tmp_path: Path,
    open_one: OpenOne,
    way: dict[str, Any],
    names: list[str] | None,
    order: tuple[int, ...],
) -> None:
    planes = np.ascontiguousarray(picture().transpose(2, 0, 1)[list(order)])
    write_channels(tmp_path / "a.ome.tif", planes, names, way)
    with open_one(tmp_path / "a.ome.tif", CUT) as reader:
        assert reader.facts["levels"] == 2
        assert (tiles_of(reader) == picture()).all()


@pytest.mark.parametrize(
    ("count", "names", "reason"),
    [
        (2, None, "2 channels: fluorescence or several markers"),
        (4, None, "4 channels: fluorescence or several markers"),
        (3, ["DAPI", "CD3", "CD8"], r"3 channels \(DAPI, CD3, CD8\): fluorescence"),
    ],
)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_channels_that_are_no_colours_are_refused_by_name(
    tmp_path: Path,
    open_one: OpenOne,
    count: int,
    names: list[str] | None,
    reason: str,
    kind: type[np.generic],
) -> None:
    planes = np.random.default_rng(0).integers(100, 256, (count, 96, 128)).astype(kind)
    write_channels(tmp_path / "a.ome.tif", planes, names, TILES)
    with pytest.raises(UnreadableSource, match=reason):
        open_one(tmp_path / "a.ome.tif", CUT)


def test_three_channels_without_names_are_fluorescence_where_they_are_dark(
    tmp_path: Path, open_one: OpenOne
) -> None:
    planes = np.random.default_rng(0).integers(0, 12, (3, 96, 128)).astype(np.uint8)
    write_channels(tmp_path / "a.ome.tif", planes, None, TILES)
    with pytest.raises(UnreadableSource, match="a dark picture: fluorescence"):
        open_one(tmp_path / "a.ome.tif", CUT)


@ways
@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
def test_a_picture_that_is_stored_turned_is_refused_by_name(
    tmp_path: Path, open_one: OpenOne, way: dict[str, Any], orientation: int
) -> None:
    options = {"photometric": "rgb", "metadata": None, "compression": "zlib"}
    tags = [(274, 3, 1, orientation, True)]
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, picture(), extratags=tags, **SCALE, **way, **options)
    with pytest.raises(UnreadableSource, match=f"Orientation is {orientation}"):
        open_one(path, CUT)


def test_a_vendors_slide_that_is_stored_turned_is_refused_too(
    tmp_path: Path, open_one: OpenOne
) -> None:
    tags = [(274, 3, 1, 3, True)]
    said = "Aperio Image Library v1\r\n128x96 (32x32) |AppMag = 20|MPP = 0.5"
    options = {"photometric": "rgb", "metadata": None, "description": said}
    tifffile.imwrite(tmp_path / "a.svs", picture(), extratags=tags, **TILES, **options)
    with pytest.raises(UnreadableSource, match="Orientation is 3"):
        open_one(tmp_path / "a.svs", CUT)


def write_stack(path: Path, axes: str, shape: tuple[int, ...], way: dict[str, Any]) -> None:
    """RGB planes; the picture lies, 10 grey levels a plane brighter or darker, in all of them."""
    count = int(np.prod(shape))
    shifts = (np.arange(count) * 5)[:, None, None, None]
    planes = (picture()[None] - shifts).clip(0).astype(np.uint8).reshape(*shape, 96, 128, 3)
    tifffile.imwrite(
        path, planes, ome=True, photometric="rgb", metadata=ome(axes=f"{axes}YXS"), **way
    )


@ways
@pytest.mark.parametrize(
    ("axes", "shape", "middle", "words"),
    [
        ("Z", (5,), 3, "5 focal planes"),
        ("T", (3,), 2, "3 times"),
        ("TZ", (2, 3), 4, "2 times x 3 focal planes"),
    ],
)
def test_of_a_stack_the_middle_is_read_or_the_plane_asked_for_and_that_is_said(
    tmp_path: Path,
    open_one: OpenOne,
    way: dict[str, Any],
    axes: str,
    shape: tuple[int, ...],
    middle: int,
    words: str,
) -> None:
    write_stack(tmp_path / "a.ome.tif", axes, shape, way)
    for asked, plane in ((None, middle), (1, 1)):
        with open_one(tmp_path / "a.ome.tif", CUT, plane=asked) as reader:
            assert (reader.facts["plane"], reader.facts["planes"]) == (plane, np.prod(shape))
            assert f"plane {plane} of {np.prod(shape)} is read ({words})" in reader.plan().reason
            assert (tiles_of(reader) == picture() - 5 * (plane - 1)).all()


def test_a_plane_that_is_not_there_is_refused_and_a_plain_slide_has_none(
    tmp_path: Path, open_one: OpenOne
) -> None:
    write_stack(tmp_path / "a.ome.tif", "Z", (3,), TILES)
    with pytest.raises(UnreadableSource, match=r"--plane 4: it has 3 \(3 focal planes\)"):
        open_one(tmp_path / "a.ome.tif", CUT, plane=4)
    options = {"photometric": "rgb", "metadata": None}
    tifffile.imwrite(tmp_path / "b.tif", picture(), **SCALE, **TILES, **options)
    with open_one(tmp_path / "b.tif", CUT, plane=4) as reader:
        assert "plane" not in reader.facts
        assert reader.plan().reason == ""


@ways
def test_pages_of_one_size_are_planes(
    tmp_path: Path, open_one: OpenOne, way: dict[str, Any]
) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as out:
        for shift in (9, 0, 30):
            out.write(picture() - shift, photometric="rgb", metadata=None, **SCALE, **way)
    with open_one(tmp_path / "a.tif", CUT) as reader:
        assert (tiles_of(reader) == picture()).all()
        assert "plane 2 of 3 is read (3 pages)" in reader.plan().reason


def test_a_mask_of_one_bit_is_refused(tmp_path: Path, open_one: OpenOne) -> None:
    mask = picture()[:, :, 0] > 180
    tifffile.imwrite(tmp_path / "a.tif", mask, photometric="minisblack", metadata=None, **SCALE)
    with pytest.raises(UnreadableSource, match="1 bit a pixel: a mask"):
        open_one(tmp_path / "a.tif", CUT)


@pytest.mark.parametrize("axes", ["ZCYX", "CZYX"])
def test_a_stack_of_colours_in_planes_of_their_own(
    tmp_path: Path, open_one: OpenOne, axes: str
) -> None:
    shifts = np.arange(3).reshape(3, 1, 1, 1) * 5
    stack = (picture().transpose(2, 0, 1)[None] - shifts).astype(np.uint8)
    stack = np.ascontiguousarray(stack if axes == "ZCYX" else stack.transpose(1, 0, 2, 3))
    options: dict[str, Any] = {"photometric": "minisblack", "metadata": ome(axes=axes)}
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, ome=True, **options, **TILES)
    with open_one(tmp_path / "a.ome.tif", CUT) as reader:
        assert (tiles_of(reader) == picture() - 5).all()


def test_levels_of_a_plain_pyramid_are_neither_scans_nor_planes(
    tmp_path: Path, open_one: OpenOne
) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as out:
        for step in (1, 2, 4):
            level = np.ascontiguousarray(picture()[::step, ::step]).astype(np.uint16) * 257
            out.write(level, photometric="rgb", metadata=None, **SCALE, **TILES)
    with open_one(tmp_path / "a.tif", CUT) as reader:
        assert reader.facts["levels"] == 3
        assert (tiles_of(reader) == picture()).all()
        assert reader.plan().reason == ""


@pytest.mark.parametrize("at", [0.0, 0.3, 0.6, 0.95])
def test_a_damaged_head_is_a_reason_or_harmless(tmp_path: Path, at: float) -> None:
    """Bytes of the directory and of the OME-XML, one after the other overwritten."""
    write_stack(tmp_path / "a.ome.tif", "Z", (3,), TILES)
    whole = (tmp_path / "a.ome.tif").read_bytes()
    start = 8 + int(at * 1200)
    for place in range(start, start + 60):
        (tmp_path / "b.tif").write_bytes(whole[:place] + b"\xff" + whole[place + 1 :])
        scans_in(tmp_path / "b.tif")
        with suppress(UnreadableSource):
            open_pyramid(tmp_path / "b.tif").close()


@pytest.mark.parametrize(
    "options",
    [
        {"photometric": "rgb", "compression": "jpeg"},
        {"photometric": "rgb", "compression": "lzw", "predictor": True},
        {"photometric": "rgb", "compression": "zlib", "bigtiff": True},
    ],
)
def test_a_usual_tiled_slide_is_left_to_openslide_or_its_own_tiles(
    tmp_path: Path, open_one: OpenOne, options: dict[str, Any]
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", picture(), metadata=None, **SCALE, **TILES, **options)
    with open_one(tmp_path / "a.tif", CUT) as reader:
        told = "jpeg tiles" if options["compression"] == "jpeg" else "openslide"
        assert reader.facts["reader"] == told
        assert {"image", "plane"}.isdisjoint(reader.facts)


@pytest.mark.parametrize("top", [16, 12])
def test_one_dark_channel_is_fluorescence(tmp_path: Path, open_one: OpenOne, top: int) -> None:
    dark = np.random.default_rng(0).integers(0, top, (96, 128)).astype(np.uint8)
    options: dict[str, Any] = {"photometric": "minisblack", "metadata": ome(axes="YX")}
    tifffile.imwrite(tmp_path / "a.ome.tif", dark, ome=True, **options, **TILES)
    with pytest.raises(UnreadableSource, match="a dark picture: fluorescence, not RGB"):
        open_one(tmp_path / "a.ome.tif", CUT)


def test_levels_may_be_compressed_in_their_own_ways(tmp_path: Path, open_one: OpenOne) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as out:
        options: dict[str, Any] = {"photometric": "rgb", **TILES}
        out.write(picture(), subifds=1, metadata=ome(axes="YXS"), compression="zlib", **options)
        small = np.ascontiguousarray(picture()[::2, ::2])
        out.write(small, subfiletype=1, metadata=None, compression="jpeg", **options)
    with open_one(tmp_path / "a.ome.tif", CUT) as reader:
        assert reader.facts["levels"] == 2
        assert (tiles_of(reader) == picture()).all()
