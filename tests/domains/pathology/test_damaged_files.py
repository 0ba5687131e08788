"""What decoders pass over in silence, and what would end the process: a reason of one line."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from histoscope.core.contracts import CorruptSample
from histoscope.core.errors import UnreadableSource
from histoscope.domains.pathology.options import TileSampling
from histoscope.domains.pathology.readers.choose import open_pyramid
from histoscope.domains.pathology.readers.jpeg_damage import jpeg_damage

CUT = TileSampling(size_px=32, tile_mpp=0.5, min_tissue=0)
SCALE = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(100, 256, (96, 128, 3)).astype(np.uint8)


def jpeg(mode: str = "RGB", **more: Any) -> bytes:
    data = io.BytesIO()
    Image.fromarray(picture()).convert(mode).save(data, "jpeg", quality=90, **more)
    return data.getvalue()


def zeroed(data: bytes, at: float = 0.5, count: int = 200) -> bytes:
    place = int(at * len(data))
    return data[:place] + bytes(count) + data[place + count :]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_damage_inside_a_jpeg_is_what_libjpeg_warns_of(mode: str) -> None:
    assert jpeg_damage(jpeg(mode)) == ""
    assert jpeg_damage(jpeg(mode, progressive=True)) == ""
    assert "Corrupt JPEG data" in jpeg_damage(zeroed(jpeg(mode)))
    assert "Premature end" in jpeg_damage(jpeg(mode)[:-900])


def test_few_bytes_behind_a_whole_picture_are_no_damage() -> None:
    """Cameras leave some."""
    data = jpeg()
    assert jpeg_damage(data[:-2] + b"\x55" * 16 + data[-2:]) == ""
    assert "extraneous bytes" in jpeg_damage(data[:-2] + b"\x55" * 40 + data[-2:])


def test_a_picture_that_is_damaged_inside_is_refused(tmp_path: Path) -> None:
    """Pillow decodes it all the same."""
    (tmp_path / "a.jpg").write_bytes(zeroed(jpeg()))
    with Image.open(tmp_path / "a.jpg") as found:
        found.load()
    with pytest.raises(UnreadableSource, match=r"^damaged \(Corrupt JPEG data: "):
        open_pyramid(tmp_path / "a.jpg")


@pytest.mark.parametrize("ome", [True, False], ids=["ome", "strips"])
def test_a_damaged_jpeg_in_a_tiff_is_corrupt_and_not_grey(
    tmp_path: Path, open_one: Any, ome: bool
) -> None:
    size = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    more: dict[str, Any] = {"tile": (32, 32), "ome": True, "metadata": {"axes": "YXS", **size}}
    if not ome:
        more = {"rowsperstrip": 32, "metadata": None, **SCALE}
    path = tmp_path / ("a.ome.tif" if ome else "a.tif")
    tifffile.imwrite(path, picture(), photometric="rgb", compression="jpeg", **more)
    with tifffile.TiffFile(path) as tiff:
        start, count = tiff.pages[0].dataoffsets[2], tiff.pages[0].databytecounts[2]
    data = path.read_bytes()
    piece = zeroed(data[start : start + count], count=100)
    path.write_bytes(data[:start] + piece + data[start + count :])
    with open_one(path, CUT) as reader:
        assert reader.facts["reader"] == "tifffile"
        found = list(reader.read(reader.plan().rows))
    bad = [place for place, one in enumerate(found) if isinstance(one, CorruptSample)]
    assert bad == ([2] if ome else [8, 9, 10, 11])
    assert "Corrupt JPEG data" in found[bad[0]].reason


@pytest.mark.parametrize("tag", ["TileWidth", "TileLength"])
def test_tiles_of_no_size_are_a_reason(tmp_path: Path, tag: str) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, picture(), ome=True, photometric="rgb", tile=(32, 32))
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[0].tags[tag].overwrite(0)
    with pytest.raises(UnreadableSource):
        open_pyramid(path)


@pytest.mark.parametrize(
    ("arrangement", "reason"),
    [(0, "its samples are not what the file says"), (2, "its list of tiles is too short")],
)
def test_samples_that_are_arranged_otherwise_than_stated_are_a_reason(
    tmp_path: Path, open_one: Any, arrangement: int, reason: str
) -> None:
    path = tmp_path / "a.tif"
    options: dict[str, Any] = {"photometric": "rgb", "metadata": None, "tile": (32, 32), **SCALE}
    tifffile.imwrite(path, picture(), **options)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[0].tags["PlanarConfiguration"].overwrite(arrangement)
    with pytest.raises(UnreadableSource, match=reason):
        open_one(path, CUT)


def test_tiles_for_which_openslide_would_end_the_process_are_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    options: dict[str, Any] = {"photometric": "rgb", "compression": "zlib", "metadata": None}
    tifffile.imwrite(path, picture(), tile=(32, 32), **options)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[0].tags["TileLength"].overwrite(2**27 + 64)
    with pytest.raises(UnreadableSource, match="too large to decode in one piece"):
        open_pyramid(path)
