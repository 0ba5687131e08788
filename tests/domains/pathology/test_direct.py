"""Slides read by their own JPEG tiles: the same pixels as OpenSlide's, or OpenSlide itself."""

from __future__ import annotations

import io
import resource
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from histoscope.domains.pathology.readers.base import RegionFault
from histoscope.domains.pathology.readers.choose import open_pyramid
from histoscope.domains.pathology.readers.direct_pyramid import READER, DirectPyramid
from histoscope.domains.pathology.readers.jpeg_tiles import JpegTiles
from histoscope.domains.pathology.readers.openslide_pyramid import OpenSlidePyramid
from histoscope.domains.pathology.tiling import Box

SIZE = (700, 530)  # no multiple of a tile
APERIO = "Aperio Image Library v11.2.1\r\n700x530 [0,0 700x530] (240x240) JPEG/RGB Q=70|AppMag = 20"
YCBCR = {"photometric": "ycbcr"}
LAYOUTS: dict[str, dict[str, Any]] = {
    "4:2:0": {**YCBCR, "subsampling": (2, 2)},
    "4:4:4": {**YCBCR, "subsampling": (1, 1)},
    "JPEG/RGB": {"photometric": "rgb", "compressionargs": {"outcolorspace": "rgb"}},
    "Aperio": {"photometric": "rgb", "compressionargs": {"outcolorspace": "rgb"}}
    | {"description": APERIO},
    "BigTIFF": {**YCBCR, "subsampling": (2, 2)},
}


def picture(size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """Smooth colours that say where they are, and some noise."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    noise = np.random.default_rng(0).normal(0, 6, (size[1], size[0], 3))
    waves = np.stack([np.sin(x / 31), np.cos(y / 23), np.sin((x + y) / 47)], 2)
    return np.clip(150 + 70 * waves + noise, 0, 255).astype(np.uint8)


def write(path: Path, layout: str, tile: int = 240, levels: int = 1, **more: Any) -> Path:
    """A tiled JPEG, each level half as large."""
    pixels = picture()
    with tifffile.TiffWriter(path, bigtiff=layout == "BigTIFF") as out:
        for level in range(levels):
            out.write(
                pixels[:: 2**level, :: 2**level],
                tile=(tile, tile),
                compression="jpeg",
                metadata=None,
                subfiletype=int(level > 0),
                **{**LAYOUTS[layout], **more},
            )
    return path


@contextmanager
def both(path: Path) -> Iterator[tuple[Any, OpenSlidePyramid]]:
    """The slide as it is opened, and through OpenSlide alone."""
    with closing(open_pyramid(path)) as ours, closing(OpenSlidePyramid(path)) as theirs:
        yield ours, theirs


def boxes(size: tuple[int, int], count: int = 40) -> Iterator[Box]:
    """Anywhere inside, and the corners."""
    rng = np.random.default_rng(1)
    for _ in range(count):
        x, y = int(rng.integers(0, size[0])), int(rng.integers(0, size[1]))
        width, height = rng.integers(1, size[0] - x + 1), rng.integers(1, size[1] - y + 1)
        yield Box(x, y, int(width), int(height))
    yield from (Box(0, 0, *size), Box(0, 0, 1, 1), Box(size[0] - 1, size[1] - 1, 1, 1))


@pytest.mark.parametrize("tile", [256, 240])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_regions_are_those_of_openslide_to_the_grey_value(tmp_path, layout, tile):
    path = write(tmp_path / "a.svs", layout, tile, levels=1 if layout == "Aperio" else 3)
    with both(path) as (ours, theirs):
        assert isinstance(ours, DirectPyramid)
        assert ours.levels == theirs.levels
        for level, size in enumerate(ours.levels):
            for box in boxes(size):
                region = theirs.read(level, box)
                left, top = round(box.x - region.x), round(box.y - region.y)
                known = region.image[top : top + box.height, left : left + box.width]
                own = ours.read(level, box)
                assert (own.x, own.y, own.valid) == (box.x, box.y, None)
                assert (own.image == known).all() or theirs._averaged[level] % 1
        assert ours.facts == {**theirs.facts, "reader": READER}


def _blended(path: Path) -> Path:
    """Two levels; 1400 px become 699: 2.0014 and 2 of height."""
    large = np.tile(picture(), (2, 2, 1))
    with tifffile.TiffWriter(path) as out:
        for level, pixels in enumerate((large, large[::2, ::2][:, :699])):
            more = {**LAYOUTS["4:4:4"], "compressionargs": {"level": 95}}
            told = {"compression": "jpeg", "metadata": None, "subfiletype": int(level > 0)}
            out.write(pixels, tile=(128, 128), **told, **more)
    return path


def test_a_level_whose_downsample_is_no_whole_number_has_its_own_pixels(tmp_path):
    path = _blended(tmp_path / "a.tif")
    with tifffile.TiffFile(path) as tiff:
        stored = tiff.pages[1].asarray()
    with both(path) as (ours, theirs):
        assert theirs._averaged[1] % 1
        box = Box(100, 80, 200, 150)
        assert (ours.read(1, box).image == stored[80:230, 100:300]).all()
        assert ours.facts["reader"] == READER
        blended = theirs.read(1, box)
        assert blended.x != round(blended.x)


def test_the_reader_that_is_told_is_that_of_the_level_that_was_read(tmp_path, monkeypatch):
    path = write(tmp_path / "a.tif", "4:2:0", levels=2)
    with both(path) as (ours, _):
        assert ours.facts["reader"] == "openslide"  # nothing was read yet
        ours.read(1, Box(0, 0, 5, 5))
        assert ours.facts["reader"] == READER


def test_what_differs_is_read_by_openslide(tmp_path, monkeypatch):
    path = write(tmp_path / "a.tif", "4:2:0")
    plain = JpegTiles._decoded

    def off_by_one(self: JpegTiles, index: int, factor: int) -> NDArray[np.uint8] | None:
        found = plain(self, index, factor)
        return None if found is None else found ^ (index == 4)  # a tile in the middle

    monkeypatch.setattr(JpegTiles, "_decoded", off_by_one)
    with both(path) as (ours, theirs):
        box = Box(0, 0, *SIZE)
        assert (ours.read(0, box).image == theirs.read(0, box).image).all()
        assert ours.facts["reader"] == "openslide"


def test_jpeg_whose_colours_are_not_what_the_tag_says_is_read_by_openslide(tmp_path):
    path = write(tmp_path / "a.tif", "JPEG/RGB")
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[0].tags["PhotometricInterpretation"].overwrite(6)
    with both(path) as (ours, theirs):
        for box in boxes(SIZE, 5):
            assert (ours.read(0, box).image == theirs.read(0, box).image).all()


def _overwritten(path: Path, index: int, change: Any) -> None:
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        start, count = page.dataoffsets[index], page.databytecounts[index]
    data = bytearray(path.read_bytes())
    data[start : start + count] = change(bytes(data[start : start + count]))
    path.write_bytes(data)


def _told(pyramid: Any, box: Box) -> str | bytes:
    """Pixels, or why there are none."""
    try:
        return bytes(pyramid.read(0, box).image.tobytes())
    except RegionFault as fault:
        return str(fault)


@pytest.mark.parametrize(
    ("change", "unreadable"),
    [
        (lambda data: bytes(len(data)), True),
        (lambda data: b"\xff\xd8\xff\xd9" + bytes(len(data) - 4), True),
        (lambda data: (data[: len(data) // 2] + b"\xff\xd9" * len(data))[: len(data)], True),
        (lambda data: data[: len(data) // 2] + bytes(len(data) - len(data) // 2), None),
        (lambda data: data[: len(data) // 2] + b"\x55" * (len(data) - len(data) // 2), None),
    ],
    ids=["zeros", "nothing in it", "ends early", "half zeros", "half nonsense"],
)
def test_a_damaged_tile_is_what_openslide_says_and_no_other_suffers(tmp_path, change, unreadable):
    path = write(tmp_path / "a.tif", "4:2:0")
    _overwritten(path, 4, change)
    inside, beside = Box(250, 250, 100, 100), Box(0, 0, 240, 240)
    with both(path) as (ours, theirs):
        for _ in range(2):
            told = _told(theirs, inside)
            assert unreadable is None or isinstance(told, str) == unreadable
            assert _told(ours, inside) == told
            assert _told(ours, beside) == _told(theirs, beside)
        assert ours.facts["reader"] == READER


def test_a_damaged_head_that_asks_for_gigabytes_is_a_damaged_tile(tmp_path):
    path = write(tmp_path / "a.tif", "4:2:0")

    def huge(data: bytes) -> bytes:
        at = data.index(b"\xff\xc0") + 5
        return data[:at] + b"\xff\xdc\xff\xdc" + data[at + 4 :]

    _overwritten(path, 4, huge)
    with both(path) as (ours, theirs):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        told = _told(theirs, Box(250, 250, 100, 100))
        assert isinstance(told, str)
        assert _told(ours, Box(250, 250, 100, 100)) == told
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 500_000  # KiB


@pytest.mark.parametrize("kind", ["RGB", "L"])
def test_a_tile_of_its_own_kind_is_what_openslide_says(tmp_path, kind):
    """Beside tiles of another colour space; it holds least, so that no look at it is taken."""
    path = write(tmp_path / "a.tif", "4:4:4", compressionargs={"level": 95})
    flat = Image.new(kind, (240, 240), (200, 40, 90) if kind == "RGB" else 90)
    data = io.BytesIO()
    flat.save(data, "jpeg", quality=50, **({"keep_rgb": True} if kind == "RGB" else {}))
    _overwritten(path, 4, lambda old: data.getvalue().ljust(len(old), b"\0"))
    inside = Box(250, 250, 100, 100)
    with both(path) as (ours, theirs):
        assert _told(ours, inside) == _told(theirs, inside)
        assert ours.facts["reader"] == READER


@pytest.mark.parametrize("name", ["TileByteCounts", "TileOffsets"])
def test_a_list_of_tiles_that_is_too_short_is_left_to_openslide(tmp_path, name):
    path = write(tmp_path / "a.tif", "4:2:0", levels=3)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tag = tiff.pages[0].tags[name]
        tag.overwrite(list(tag.value)[:-1])
    with both(path) as (ours, theirs):
        assert ours._tiles[0] is None
        for box in boxes(SIZE, 10):
            assert _told(ours, box) == _told(theirs, box)


def test_tiles_beside_their_place_are_noticed_where_openslide_blends(tmp_path, monkeypatch):
    path = _blended(tmp_path / "a.tif")
    plain = JpegTiles._decoded

    def moved(self: JpegTiles, index: int, factor: int) -> NDArray[np.uint8] | None:
        found = plain(self, index, factor)
        return found if found is None or not index else np.roll(found, 1, axis=1)

    monkeypatch.setattr(JpegTiles, "_decoded", moved)
    with both(path) as (ours, _):
        ours.read(1, Box(0, 0, 5, 5))
        assert ours.facts["reader"] == "openslide"


def test_a_tile_that_is_left_out_is_background(tmp_path):
    path = write(tmp_path / "a.tif", "4:2:0")
    with tifffile.TiffFile(path, mode="r+") as tiff:
        counts = list(tiff.pages[0].databytecounts)
        counts[4] = 0
        tiff.pages[0].tags["TileByteCounts"].overwrite(counts)
    with both(path) as (ours, theirs):
        for box in (Box(250, 250, 100, 100), Box(200, 200, 100, 100), Box(0, 0, 240, 240)):
            own, known = ours.read(0, box), theirs.read(0, box)
            assert (own.image == known.image).all()
            assert (own.valid is None) == (known.valid is None)
        assert ours.facts["reader"] == READER


def test_what_is_kept_of_a_slide_is_bounded(tmp_path):
    path = write(tmp_path / "a.tif", "4:2:0", tile=16)
    with both(path) as (ours, theirs):
        across = -(-SIZE[0] // 16)
        for box in boxes(SIZE, 20):
            assert (ours.read(0, box).image == theirs.read(0, box).image).all()
        tiles = ours._tiles[0]
        assert len(tiles._kept) <= 2 * across + 8
        one, again = (ours.read(0, Box(18, 18, 8, 8)).image for _ in range(2))
        assert np.shares_memory(one, again)
        assert not one.flags.writeable


def test_tiles_beside_those_of_the_file_are_decoded_once_a_row(tmp_path, monkeypatch):
    path = write(tmp_path / "a.tif", "4:2:0", tile=64)
    decoded = list[int]()
    plain = JpegTiles._decoded
    monkeypatch.setattr(
        JpegTiles,
        "_decoded",
        lambda self, index, by: decoded.append(index) or plain(self, index, by),
    )
    with both(path) as (ours, _):
        ours.read(0, Box(0, 0, 1, 1))
        decoded.clear()
        for y in range(10, SIZE[1] - 64, 64):
            for x in range(10, SIZE[0] - 64, 64):
                ours.read(0, Box(x, y, 64, 64))
    assert len(decoded) == len(set(decoded))


def test_other_vendors_and_other_compressions_stay_with_openslide(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", picture(), tile=(256, 256), compression="zlib")
    with closing(open_pyramid(tmp_path / "a.tif")) as ours:
        assert isinstance(ours, OpenSlidePyramid)


@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    [
        "CMU-1-Small-Region.svs",
        "damaged-inside.svs",
        "made-philips.tiff",
        "made-pyramid-mpp0.5.tif",
    ],
)
def test_real_slides_are_the_same_everywhere(real_data, name):
    path = real_data / "pathology" / "slides" / name
    with both(path) as (ours, theirs):
        assert isinstance(ours, DirectPyramid)
        faults = 0
        for level, (width, height) in enumerate(ours.levels):
            for y in range(0, height - 200, 230):
                for x in range(0, width - 200, 230):
                    box = Box(x, y, 200, 200)
                    try:
                        known = theirs.read(level, box).image
                    except RegionFault as fault:
                        faults += 1
                        with pytest.raises(RegionFault, match=str(fault)):
                            ours.read(level, box)
                    else:
                        assert (ours.read(level, box).image == known).all()
        assert ours.facts["reader"] == READER
        assert (faults > 0) == name.startswith("damaged")
