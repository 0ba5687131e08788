"""Halving in the JPEG decoder: where it is asked for, in place, and near what averaging gives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from histoscope.core.contracts import Sample
from histoscope.core.data.joined import joined
from histoscope.core.data.selection import select
from histoscope.core.data.store import Store
from histoscope.core.encoders.folder import EncoderInfo
from histoscope.core.errors import DataError, UsageError
from histoscope.core.progress import Silent
from histoscope.core.stages.encoders import check_fits
from histoscope.core.stages.prepare import prepare
from histoscope.core.stages.pretrain_data import data_of
from histoscope.core.training.spec import PretrainSpec
from histoscope.core.work.local import Local
from histoscope.domains.pathology import DOMAIN
from histoscope.domains.pathology.options import PrepareOptions, TileSampling

SIZE = (1210, 930)  # no multiple of a tile, nor of eight
MPP = 0.25


def write(path: Path, subsampling: tuple[int, int] = (2, 2), tile: int = 256) -> NDArray[np.uint8]:
    """Blocks of 16 px whose colours say where they lie; the pixels that any decoder gives."""
    x, y = np.meshgrid(np.arange(SIZE[0]) // 16, np.arange(SIZE[1]) // 16)
    pixels = np.stack([120 + x % 8 * 12, 60 + y % 8 * 12, 130 + (x // 8 + y // 8) % 6 * 12], 2)
    tifffile.imwrite(
        path,
        pixels.astype(np.uint8),
        tile=(tile, tile),
        compression="jpeg",
        compressionargs={"level": 95},
        photometric="rgb",
        subsampling=subsampling,
        metadata=None,
        resolution=(1e4 / MPP, 1e4 / MPP),
        resolutionunit="CENTIMETER",
    )
    return np.asarray(tifffile.imread(path))


def cut(factor: float, *, halving: bool = True) -> TileSampling:
    return TileSampling(size_px=32, tile_mpp=MPP * factor, min_tissue=0, halving=halving)


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 2)])
@pytest.mark.parametrize(("factor", "halved"), [(2, 2), (3, 2), (4, 4), (8, 8), (11, 8), (1.5, 1)])
def test_tiles_lie_where_they_do_without_it(tmp_path, open_one, subsampling, factor, halved):
    write(tmp_path / "a.tif", subsampling)
    with open_one(tmp_path / "a.tif", cut(factor)) as reader:
        rows = reader.plan().rows
        assert reader.facts["halved_by"] == halved
        ours = [one.image for one in reader.read(rows) if isinstance(one, Sample)]
    with open_one(tmp_path / "a.tif", cut(factor, halving=False)) as reader:
        assert reader.facts["halved_by"] == 1
        assert reader.plan().rows.equals(rows)
        exact = [one.image for one in reader.read(rows) if isinstance(one, Sample)]
    assert len(ours) == len(exact) == len(rows)
    apart = np.abs(np.array(ours).astype(int) - np.array(exact))
    assert apart.mean() < (3 if halved > 1 else 1e-9)
    if halved > 1 and factor <= 4:  # blocks are seen; a pixel beside them is another colour
        moved = np.roll(np.array(ours), 16 // int(factor), axis=2).astype(int) - np.array(exact)
        assert np.abs(moved).mean() > 3 * apart.mean()


def test_of_smooth_pictures_it_differs_by_less_than_a_grey_value(tmp_path, open_one):
    x, y = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    waves = np.stack([np.sin(x / 31), np.cos(y / 23), np.sin((x + y) / 47)], 2)
    write(tmp_path / "a.tif")
    tifffile.imwrite(
        tmp_path / "a.tif",
        (150 + 60 * waves).astype(np.uint8),
        tile=(256, 256),
        compression="jpeg",
        photometric="rgb",
        metadata=None,
        resolution=(1e4 / MPP, 1e4 / MPP),
        resolutionunit="CENTIMETER",
    )
    images = []
    for halving in (True, False):
        with open_one(tmp_path / "a.tif", cut(4, halving=halving)) as reader:
            samples = reader.read(reader.plan().rows)
            images.append([one.image for one in samples if isinstance(one, Sample)])
    assert np.abs(np.array(images[0]).astype(int) - np.array(images[1])).mean() < 1


def test_what_is_no_jpeg_is_read_exactly(tmp_path, open_one):
    pixels = np.full((512, 512, 3), 120, np.uint8)
    scale = {"resolution": (1e4 / MPP, 1e4 / MPP), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(tmp_path / "a.tif", pixels, tile=(128, 128), compression="zlib", **scale)
    with open_one(tmp_path / "a.tif", cut(4)) as reader:
        assert reader.facts["halved_by"] == 1
        assert all(isinstance(one, Sample) for one in reader.read(reader.plan().rows))


def test_a_damaged_tile_is_no_less_damaged(tmp_path, open_one):
    write(tmp_path / "a.tif")
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        page = tiff.pages.first
        start, count = page.dataoffsets[6], page.databytecounts[6]
    data = bytearray((tmp_path / "a.tif").read_bytes())
    data[start + count // 2 : start + count] = bytes(count - count // 2)
    (tmp_path / "a.tif").write_bytes(data)
    found = []
    for halving in (True, False):
        with open_one(tmp_path / "a.tif", cut(2, halving=halving)) as reader:
            samples = list(reader.read(reader.plan().rows))
            found.append([isinstance(one, Sample) for one in samples])
    assert found[0] == found[1]
    assert not all(found[0])


def test_a_store_that_was_cut_otherwise_is_refused(tmp_path):
    write(tmp_path / "a.tif")
    roots, options = {"input": tmp_path / "a.tif"}, PrepareOptions()
    out = tmp_path / "store"
    prepare(DOMAIN, roots, cut(2), options, out, engine=Local(0), progress=Silent())
    told = {"network": {"kind": "colour"}, "dim": 18, "domain": "pathology"}
    told |= {"scale": {"mpp": 0.5}, "provenance": {"kind": "colour"}}
    for halving in (True, False):
        sampling = cut(2, halving=halving).model_dump(mode="json")
        info = EncoderInfo(sampling=sampling, **told)
        if halving:
            check_fits(info, Store(out), "package")
        else:
            with pytest.raises(DataError, match="prepare the data without --halving"):
                check_fits(info, Store(out), "package")


def test_a_store_that_was_begun_before_this_could_be_asked_goes_on(tmp_path):
    write(tmp_path / "a.tif")
    roots, options, out = {"input": tmp_path / "a.tif"}, PrepareOptions(), tmp_path / "store"
    how = {"engine": Local(0), "progress": Silent()}
    prepare(DOMAIN, roots, cut(2, halving=False), options, out, **how)
    before = digest_of_data(out)
    older(out)
    assert digest_of_data(out) == before  # a run that was begun on it goes on
    prepare(DOMAIN, roots, cut(2, halving=False), options, out, **how)
    assert digest_of_data(out) == before
    with pytest.raises(UsageError, match=r"sampling\.halving: False there, True now"):
        prepare(DOMAIN, roots, cut(2), options, out, **how)


def older(store: Path) -> None:
    """As if a program had written it that knew neither this nor outlines of tissue."""
    for name in ("settings.json", "store.json"):
        told = json.loads((store / name).read_text())
        del told["sampling"]["halving"], told["options"]["tissue"]
        (store / name).write_text(json.dumps(told))


def digest_of_data(store: Path) -> str:
    """What a run of ``pretrain`` says that it was trained on."""
    opened, spec = Store(store), PretrainSpec()
    return data_of(opened, DOMAIN, select(opened, "train", None), spec).digest


def test_stores_of_both_programs_are_joined_where_none_was_halved(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / f"{name}.tif", (1, 1) if name == "a" else (2, 2))
    how = {"engine": Local(0), "progress": Silent()}
    for name, halving in (("a", False), ("b", False), ("c", True)):
        slide = tmp_path / ("b.tif" if name == "c" else f"{name}.tif")
        roots, options = {"input": slide}, PrepareOptions()
        prepare(DOMAIN, roots, cut(2, halving=halving), options, tmp_path / f"s-{name}", **how)
    older(tmp_path / "s-a")
    a, b, c = (Store(tmp_path / f"s-{name}") for name in "abc")
    for pair in ((a, b), (b, a)):
        assert len(joined(pair).index) == len(a.index) + len(b.index)
    with pytest.raises(DataError, match=r"sampling differs \(halving False and True\)"):
        joined((a, c))


def test_what_lies_behind_the_edge_is_in_no_pixel(tmp_path, open_one):
    """Encoders fill the last tiles up, some with black."""
    padded = np.zeros((1024, 1280, 3), np.uint8)
    padded[:933, :1211] = 200
    scale = {"resolution": (1e4 / MPP, 1e4 / MPP), "resolutionunit": "CENTIMETER"}
    more = {"compressionargs": {"level": 95}, "photometric": "rgb", "subsampling": (1, 1)}
    tifffile.imwrite(
        tmp_path / "a.tif",
        padded,
        tile=(256, 256),
        compression="jpeg",
        metadata=None,
        **more,
        **scale,
    )
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as tiff:
        tiff.pages.first.tags["ImageWidth"].overwrite(1211)
        tiff.pages.first.tags["ImageLength"].overwrite(933)
    told = cut(4).model_copy(update={"partial": "fill"})
    with open_one(tmp_path / "a.tif", told) as reader:
        assert reader.facts["halved_by"] == 4
        images = [one.image for one in reader.read(reader.plan().rows) if isinstance(one, Sample)]
    seen = np.array(images)
    assert set(np.unique(seen)) <= {*range(195, 206), *range(250, 256), *range(206, 250)}
    assert seen.min() > 190  # no black came in


def test_pictures_of_a_set_say_that_nothing_is_halved(tmp_path):
    for kind in ("a", "b"):
        (tmp_path / "set" / kind).mkdir(parents=True)
        Image.new("RGB", (32, 32), (150, 90, 140)).save(tmp_path / "set" / kind / "x.png")
    options = PrepareOptions(layout="folders", mpp=MPP)
    roots, out = {"input": tmp_path / "set"}, tmp_path / "store"
    (one,) = prepare(DOMAIN, roots, cut(1), options, out, engine=Local(0), progress=Silent())
    assert "halving is of slides: these pictures are read as they are" in one.reason
