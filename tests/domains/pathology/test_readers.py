"""One test a bad input, each with its true reason; and what is read in spite of OpenSlide."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from histoscope.core.contracts import Reader, Sample
from histoscope.core.errors import UnreadableSource
from histoscope.domains.pathology.options import TileSampling
from histoscope.domains.pathology.readers import choose, flat_pyramid
from histoscope.domains.pathology.readers.base import Region, RegionFault, on_background, words_of
from histoscope.domains.pathology.readers.choose import open_pyramid
from histoscope.domains.pathology.thumbnail import make_thumbnail
from histoscope.domains.pathology.tiling import Box

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


def refused(path: Path) -> str:
    with pytest.raises(UnreadableSource) as caught:
        open_pyramid(path)
    assert "\n" not in caught.value.reason
    assert path.name not in caught.value.reason
    return caught.value.reason


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.svs", b"", "the file is empty"),
        ("a.svs", b"no tiff at all, but text", "not a TIFF file in spite of its name"),
        ("a.svs", b"II*\0\0\0\1\0" + b"\0" * 90, "ends early"),
        ("a.dcm", b"text", "no DICOM file"),
        ("a.png", b"text", "not a picture"),
        ("a.mrxs", b"text", "OpenSlide does not know"),
        ("a.czi", b"text", "OpenSlide does not know"),
        ("a.isyntax", b"text", "Philips iSyntax is not readable here; convert"),
        ("a.vsi", b"text", ".ets folder"),
    ],
)
def test_bad_files_say_why(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(data)
    assert reason in refused(tmp_path / name)


def test_an_absent_file_says_so(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "a.svs")


def test_a_vsi_with_its_folder_is_to_be_converted(tmp_path: Path) -> None:
    (tmp_path / "a.vsi").write_bytes(b"text")
    (tmp_path / "_a_" / "stack1").mkdir(parents=True)
    (tmp_path / "_a_" / "stack1" / "frame_t.ets").write_bytes(b"")
    assert "convert" in refused(tmp_path / "a.vsi")


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_cut_picture_says_that_it_ends_early(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(PIXELS).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "ends early" in refused(path) or "damaged" in refused(path)


def test_a_decompression_bomb_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    monkeypatch.setattr(flat_pyramid.Image, "MAX_IMAGE_PIXELS", 4000)
    assert "too large to decode in one piece" in refused(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.zeros((40, 40), np.float32), "type float32"),
        (np.zeros((40, 40), np.uint16), "how many bits are meant is not said"),
        (np.zeros((3, 40, 40), np.uint8), "colours or a stack, which is not said"),
        (np.zeros((40, 40, 5), np.uint8), "5 samples a pixel"),
    ],
)
def test_tiffs_that_are_no_rgb_picture_say_so(
    tmp_path: Path, pixels: np.ndarray, reason: str
) -> None:
    options = {"photometric": "minisblack" if pixels.shape[-1] != 5 else "rgb"}
    tifffile.imwrite(tmp_path / "a.tif", pixels, **options)
    assert reason in refused(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
@pytest.mark.parametrize(("tag", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_pictures_stand_upright_as_their_exif_says(
    tmp_path: Path, suffix: str, tag: int, turns: int
) -> None:
    ramp = np.zeros((24, 40, 3), np.uint8)
    ramp[:12], ramp[:, :20, 2] = 200, 90
    turned = Image.Exif()
    turned[0x0112] = tag
    Image.fromarray(ramp).save(tmp_path / f"a.{suffix}", exif=turned.tobytes(), quality=95)
    with flat_pyramid.open_picture(tmp_path / f"a.{suffix}") as picture:
        found, _ = flat_pyramid.rgb_of(picture, tmp_path / f"a.{suffix}")
    assert np.abs(found.astype(int) - np.rot90(ramp, turns)).mean() < 4


@pytest.mark.parametrize("memory", [False, True])
def test_a_tile_of_twelve_bits_in_sixteen_is_refused_not_black(
    tmp_path: Path, memory: bool
) -> None:
    for factor, name in ((257, "sixteen.tif"), (16, "twelve.tif")):
        tifffile.imwrite(tmp_path / name, PIXELS.astype(np.uint16) * factor, photometric="rgb")

    def decode(name: str) -> np.ndarray:
        file = BytesIO((tmp_path / name).read_bytes()) if memory else tmp_path / name
        with flat_pyramid.open_picture(file) as picture:
            return flat_pyramid.rgb_of(picture, file)[0]

    assert (decode("sixteen.tif") == PIXELS).all()
    with pytest.raises(UnreadableSource, match="16-bit samples, the largest 4080"):
        decode("twelve.tif")


@pytest.mark.parametrize("mode", ["RGBA", "L", "P"])
def test_pictures_of_any_mode_become_rgb_on_white(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(PIXELS).convert(mode)
    if mode == "RGBA":
        picture.putalpha(0)
    picture.save(tmp_path / "a.png")
    region = open_pyramid(tmp_path / "a.png").read(0, Box(10, 5, 20, 30))
    assert region.image.shape == (30, 20, 3)
    if mode == "RGBA":
        assert (region.image == 255).all()
        assert region.valid is not None
        assert not region.valid.any()


def test_striped_tiff_is_read_by_tifffile_with_its_scale(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif",
        PIXELS,
        photometric="rgb",
        rowsperstrip=7,
        resolution=(20000, 20000),
        resolutionunit="CENTIMETER",
        metadata=None,
    )
    pyramid = open_pyramid(tmp_path / "a.tif")
    assert pyramid.facts["reader"] == "tifffile"
    assert pyramid.mpp == (0.5, 0.5)
    assert (pyramid.read(0, Box(3, 4, 50, 40)).image == PIXELS[4:44, 3:53]).all()
    pyramid.close()


def test_ome_levels_and_scale_are_seen(tmp_path: Path, open_one: Callable[..., Reader]) -> None:
    draw = np.random.default_rng(0)
    large = draw.integers(0, 256, (128, 256, 3), dtype=np.uint8)
    small = draw.integers(0, 256, (64, 128, 3), dtype=np.uint8)
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as out:
        scale = {"PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm"}
        scale |= {"PhysicalSizeY": 250, "PhysicalSizeYUnit": "nm"}
        out.write(
            large, tile=(32, 32), photometric="rgb", subifds=1, metadata={"axes": "YXS", **scale}
        )
        out.write(small, tile=(32, 32), photometric="rgb", subfiletype=1)
    cut = TileSampling(size_px=32, tile_mpp=0.5, min_tissue=0)
    with open_one(path, cut) as reader:
        assert reader.facts["reader"] == "tifffile"
        assert (reader.facts["mpp_x"], reader.facts["read_level"]) == (0.25, 1)
        rows = reader.plan().rows
        for row, sample in zip(rows.to_pylist(), reader.read(rows), strict=True):
            assert isinstance(sample, Sample)
            x, y = row["x_level0_px"] // 2, row["y_level0_px"] // 2
            assert (sample.image == small[y : y + 32, x : x + 32]).all()


def test_unseen_pixels_take_the_background_and_not_black() -> None:
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[0, 0] = (10, 20, 30, 255)
    image, seen = on_background(rgba, (240, 241, 242))
    assert image[0, 0].tolist() == [10, 20, 30]
    assert image[3, 3].tolist() == [240, 241, 242]
    assert seen is not None
    assert seen.sum() == 1


def test_reasons_carry_no_path() -> None:
    path = Path("/ward/Miller Jane.svs")
    assert words_of(OSError("Reading /ward/Miller Jane.svs: bad\nthing"), path) == "bad thing"
    assert "Miller" not in words_of(OSError("Short read of file Miller Jane.svs: 1 < 2"), path)


class Damaged:
    """A pyramid whose lower right quarter cannot be read."""

    levels = ((2048, 2048),)
    mpp = (0.5, 0.5)
    scanned = Box(0, 0, 2048, 2048)
    facts: dict[str, str] = {}  # noqa: RUF012 - a stand-in

    def read(self, level: int, box: Box) -> Region:
        if box.x + box.width > 1024 and box.y + box.height > 1024:
            raise RegionFault("damaged")
        return Region(np.full((box.height, box.width, 3), 200, np.uint8), None, box.x, box.y)

    def close(self) -> None:
        """Nothing to do."""


def test_a_thumbnail_survives_damage_and_says_where() -> None:
    picture = make_thumbnail(Damaged(), (128, 128))
    assert picture.readable[:60, :].all()
    assert not picture.readable[64:, 64:].any()
    assert choose.why_no_pixels(Damaged(), 0) == ""


def test_opening_warns_of_nothing(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", dpi=(72, 72))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pyramid = open_pyramid(tmp_path / "a.jpg")
    assert pyramid.mpp is None  # screen dpi is no scale
