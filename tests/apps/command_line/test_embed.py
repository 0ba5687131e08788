"""``embed --layout``: features as the readers of CLAM and TRIDENT look them up."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
import torch
from numpy.typing import NDArray

from tests.apps.command_line.road import HERE, Answer, Road, paint, snapshot, write_slide

CLAM = [
    *("slide_id", "process", "status", "seg_level", "sthresh", "mthresh", "close", "use_otsu"),
    *("keep_ids", "exclude_ids", "a_t", "a_h", "max_n_holes", "vis_level", "line_thickness"),
    *("use_padding", "contour_fn"),
]
PLACE = "20x_32px_0px_overlap/features_colour"


def slide(path: Path, seed: int) -> Path:
    """Tissue on glass, at 0.5 um/px."""
    pixels = np.full((192, 192, 3), 245, np.uint8)
    pixels[32:160, 32:160] = paint("tumour", 128, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_slide(path, pixels)
    return path


def glass(path: Path) -> None:
    write_slide(path, np.full((192, 192, 3), 245, np.uint8))


@pytest.fixture
def embed(road: Road, call: Callable[..., Answer], tmp_path: Path) -> Callable[..., Answer]:
    """Embed a folder of slides into ``out``."""

    def act(*words: object) -> Answer:
        by = ("--package", road.package, "--out", tmp_path / "out", *HERE)
        return call("embed", tmp_path / "slides", *by, *words)

    return act


def read_as_clam(folder: Path, slide_id: str) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """What its dataset takes of a slide, from both files."""
    bag = torch.load(folder / "pt_files" / f"{slide_id}.pt", weights_only=True)
    with h5py.File(folder / "h5_files" / f"{slide_id}.h5", "r") as file:
        features, coords = file["features"][:], file["coords"][:]
    assert type(bag) is torch.Tensor
    assert bag.dtype == torch.float32
    assert (bag.numpy() == features).all()
    return features, coords


def kept(out: Path) -> dict[str, tuple[str, NDArray[np.float32], NDArray[np.int64]]]:
    """Id, features and corners of each slide by its path, as the program keeps them."""
    rows = pq.read_table(out / "manifest.parquet").to_pylist()
    found = {}
    for row in (row for row in rows if row["status"] == "done"):
        table = pq.read_table(out / "features" / row["id"] / "features.parquet")
        corners = [table.column(f"{axis}_level0_px").to_numpy() for axis in "xy"]
        vectors = np.array(table.column("features").to_pylist(), np.float32)
        found[row["path"]] = row["id"], vectors, np.stack(corners, 1)
    return found


def process_list(out: Path) -> dict[str, dict[str, str]]:
    with (out / "process_list_autogen.csv").open(newline="") as handle:
        return {row["slide_id"]: row for row in csv.DictReader(handle)}


def test_clam_finds_each_slide_under_its_name(embed, tmp_path):
    slide(tmp_path / "slides" / "CASE 1.tif", 1)
    slide(tmp_path / "slides" / "ward" / "S-2.x.TIF", 2)
    answer = embed("--layout", "clam")
    assert answer.code == 0, answer
    line = "layout clam: files bear the names of the slides: h5_files/NAME.h5, pt_files/NAME.pt, "
    assert line + "process_list_autogen.csv" in answer.err
    out = tmp_path / "out"
    for path, slide_id in (("CASE 1.tif", "CASE 1"), ("ward/S-2.x.TIF", "S-2.x")):
        source, vectors, corners = kept(out)[path]
        features, coords = read_as_clam(out, slide_id)
        assert (features == vectors).all()
        assert len(features) > 8
        assert coords.dtype == np.int32
        assert (coords == corners).all()
        with h5py.File(out / "h5_files" / f"{slide_id}.h5", "r") as file:
            said = file["coords"].attrs
            assert (said["patch_level"], said["patch_size"]) == (0, 32)
            assert said["level_dim"].tolist() == [192, 192]
            assert (said["name"], said["save_path"]) == (slide_id, "")
            assert file.attrs["source_id"] == source
    assert {path.name for path in (out / "features").glob("*/*")} == {
        "features.parquet",
        "done.json",
    }


def test_the_process_list_says_what_became_of_each_slide(embed, tmp_path):
    slide(tmp_path / "slides" / "good.tif", 1)
    glass(tmp_path / "slides" / "glass.tif")
    (tmp_path / "slides" / "broken.svs").write_bytes(b"II*\0")
    assert embed("--layout", "clam").code == 1
    found = process_list(tmp_path / "out")
    assert list(found) == ["broken.svs", "glass.tif", "good.tif"]
    assert list(found["good.tif"]) == [*CLAM, "source_id", "reason"]
    said = {name: (row["process"], row["status"]) for name, row in found.items()}
    assert said == {
        "broken.svs": ("1", "tbp"),
        "glass.tif": ("0", "failed_seg"),
        "good.tif": ("0", "processed"),
    }
    assert "no tissue" in found["glass.tif"]["reason"]
    assert found["broken.svs"]["reason"]
    assert os.listdir(tmp_path / "out" / "pt_files") == ["good.pt"]
    assert os.listdir(tmp_path / "out" / "h5_files") == ["good.h5"]


def test_trident_finds_each_slide_under_its_name(embed, tmp_path):
    slide(tmp_path / "slides" / "ward" / "S-2.x.tif", 2)
    glass(tmp_path / "slides" / "glass.tif")
    answer = embed("--layout", "trident")
    assert answer.code == 0, answer
    assert f"files bear the names of the slides: {PLACE}/NAME.h5" in answer.err
    out = tmp_path / "out"
    source, vectors, corners = kept(out)["ward/S-2.x.tif"]
    with h5py.File(out / PLACE / "S-2.x.h5", "r") as file:
        assert (file["features"][:] == vectors).all()
        coords, said = file["coords"][:], dict(file["coords"].attrs)
        assert (coords == corners).all()
        assert coords.dtype == np.int64
        assert file.attrs["source_id"] == source
        assert dict(file["features"].attrs) == {
            "name": "S-2.x",
            "savetodir": "",
            "encoder": "colour",
        }
    with h5py.File(out / PLACE / "glass.h5", "r") as file:
        assert file["features"].shape == (0, vectors.shape[1])
        assert file["coords"].shape == (0, 2)
        empty = dict(file["coords"].attrs)
    for one, name in ((said, "S-2.x"), (empty, "glass")):
        assert (one["patch_size"], one["patch_size_level0"], one["overlap"]) == (32, 32, 0)
        assert (one["level0_magnification"], one["target_magnification"]) == (20, 20)
        assert (one["level0_width"], one["name"], one["savetodir"]) == (192, name, "")
    assert {path.name for path in out.iterdir()} == {
        *("embed.json", "manifest.csv", "manifest.parquet", "features", PLACE.partition("/")[0])
    }


@pytest.mark.parametrize("layout", ["clam", "trident"])
def test_a_second_call_changes_no_byte_and_one_after_a_kill_goes_on(embed, tmp_path, layout):
    for seed in range(2):
        slide(tmp_path / "slides" / f"{seed}.tif", seed)
    out = tmp_path / "out"
    assert embed("--layout", layout).code == 0
    first = snapshot(out)
    files = [path for path in first if path.stem == "0"]
    assert files
    assert embed("--layout", layout).code == 0
    assert snapshot(out) == first
    (done, *_) = (out / "features").glob("*/done.json")
    done.unlink()  # killed before it was closed, ...
    for path in files:
        path.with_name(f"{path.name}.4321.part").write_bytes(b"half")
        path.unlink()  # ... while these were written
    for file in ("manifest.csv", "manifest.parquet"):
        (out / file).unlink()
    for other in (out / "features").glob("*/done.json"):
        other.unlink()
    assert embed("--layout", layout).code == 0
    assert snapshot(out) == first


def test_going_on_with_another_layout_is_refused(embed, tmp_path):
    slide(tmp_path / "slides" / "a.tif", 1)
    assert embed("--layout", "clam").code == 0
    before = snapshot(tmp_path / "out")
    for words, said in ((("--layout", "trident"), "trident"), ((), "opaque")):
        answer = embed(*words)
        assert answer.code == 2
        assert f"other settings (options.layout: clam there, {said} now)" in answer.err
    assert snapshot(tmp_path / "out") == before


@pytest.mark.parametrize("names", [("p/a.tif", "q/a.tif"), ("a.tif", "a.svs"), ("A.tif", "a.svs")])
def test_two_slides_of_one_name_are_refused_at_the_start(embed, tmp_path, names):
    for seed, name in enumerate(names):
        slide(tmp_path / "slides" / name, seed)
    answer = embed("--layout", "clam")
    assert answer.code == 2
    for name in names:
        assert str(tmp_path / "slides" / name) in answer.err
    assert "would have one name" in answer.err
    assert "rename, or give each an --out of its own" in answer.err
    assert not (tmp_path / "out").exists()
    assert embed().code == 0, "under ids they are two"


def test_another_slide_takes_no_name_of_an_earlier_call(embed, tmp_path):
    path = slide(tmp_path / "slides" / "a.tif", 1)
    assert embed("--layout", "clam").code == 0
    before = snapshot(tmp_path / "out")
    write_slide(path, np.full((256, 192, 3), 150, np.uint8))
    answer = embed("--layout", "clam")
    assert answer.code == 2
    assert f"{path}, a.tif of an earlier call would have one name, a;" in answer.err
    assert snapshot(tmp_path / "out") == before


def test_a_slide_whose_name_no_file_can_have_everywhere_fails_alone(embed, tmp_path):
    slide(tmp_path / "slides" / "a:b.tif", 1)
    slide(tmp_path / "slides" / "c.tif", 2)
    answer = embed("--layout", "clam")
    assert answer.code == 1
    why = "':' cannot stand in a file's name on every machine; rename it, or leave --layout away"
    assert f"a:b.tif: failed: {why}" in answer.err
    assert os.listdir(tmp_path / "out" / "pt_files") == ["c.pt"]
    assert process_list(tmp_path / "out")["a:b.tif"]["reason"] == why


def test_each_scan_of_a_file_has_a_name(embed, tmp_path):
    (tmp_path / "slides").mkdir()
    with tifffile.TiffWriter(tmp_path / "slides" / "a.ome.tif", ome=True) as file:
        for seed in range(2):
            size = {f"PhysicalSize{axis}": 0.5 for axis in "XY"}
            said = {"axes": "YXS", "Name": str(seed), **size}
            tile = paint("tumour", 128, seed)
            file.write(tile, photometric="rgb", tile=(32, 32), metadata=said)
    assert embed("--layout", "clam").code == 0
    assert sorted(os.listdir(tmp_path / "out" / "h5_files")) == ["a.ome#2.h5", "a.ome.h5"]
    rows = process_list(tmp_path / "out")
    assert {os.path.splitext(name)[0] for name in rows} == {"a.ome", "a.ome#2"}


def test_files_of_a_slide_that_fails_now_are_removed(embed, tmp_path):
    slide(tmp_path / "slides" / "a.tif", 1)
    scales = tmp_path / "mpp.csv"
    scales.write_text("slide,mpp\na.tif,0.5\n")
    assert embed("--layout", "clam", "--mpp-csv", scales).code == 0
    scales.write_text("slide,mpp\na.tif,9\n")
    assert embed("--layout", "clam", "--mpp-csv", scales).code == 1
    assert not list((tmp_path / "out").glob("*_files/*"))
    assert process_list(tmp_path / "out")["a.tif"]["status"] == "tbp"


def test_without_a_layout_no_file_bears_a_name(embed, tmp_path):
    slide(tmp_path / "slides" / "CASE-1.tif", 1)
    answer = embed()
    assert answer.code == 0
    assert "layout" not in answer.err
    (source,) = (path.name for path in (tmp_path / "out" / "features").iterdir())
    assert (tmp_path / "out" / "features" / source / f"{source}.h5").is_file()
    assert not [path for path in (tmp_path / "out").rglob("*") if "CASE-1" in path.name]
