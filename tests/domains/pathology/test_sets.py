from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from histoscope.core.contracts import CorruptSample, Sample, Unused
from histoscope.core.errors import DataError, UnreadableSource
from histoscope.core.files import write_json
from histoscope.domains.pathology import DOMAIN
from histoscope.domains.pathology.options import PrepareOptions, TileSampling
from histoscope.domains.pathology.set_reader import fit
from tests.domains.pathology.tile_sets import CUT, of_kind, picture, png, reader, sources, write


def test_class_folders_give_labels_and_pixels(tmp_path: Path) -> None:
    for seed, name in enumerate(["a/1.png", "a/2.png", "b/1.png"]):
        write(tmp_path / name, png(seed))
    (source,) = sources(tmp_path, mpp=1.0)
    assert (source.kind, source.path, source.independent) == ("set-folders", ".", True)
    with reader(source, tmp_path, mpp=1.0) as opened:
        plan = opened.plan()
        assert plan.labels["tissue"].values.to_pylist() == ["a", "a", "b"]
        assert plan.rows.column("member").to_pylist() == ["a/1.png", "a/2.png", "b/1.png"]
        assert len(set(plan.rows.column("key").to_pylist())) == 3
        images = [s.image for s in opened.read(plan.rows) if isinstance(s, Sample)]
    assert all((image == picture(seed)).all() for seed, image in enumerate(images))


def test_split_folders_give_splits(tmp_path: Path) -> None:
    for name in ["train/a/1.png", "train/b/2.png", "val/a/3.png", "test/b/4.png"]:
        write(tmp_path / name, png(1))
    (source,) = sources(tmp_path, mpp=1.0)
    with reader(source, tmp_path, mpp=1.0) as opened:
        rows = opened.plan().rows.to_pylist()
    assert [row["split"] for row in rows] == ["test", "train", "train", "valid"]


def test_folders_of_large_or_unequal_pictures_are_sections(tmp_path: Path) -> None:
    write(tmp_path / "p1/1.png", png(1, 16))
    write(tmp_path / "p2/1.png", png(2, 20))
    assert [source.kind for source in sources(tmp_path)] == ["image", "image"]


def test_zips_are_sources_with_their_split(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        with zipfile.ZipFile(tmp_path / f"{split}.zip", "w") as archive:
            archive.writestr(f"{split}/0/x.png", png(1))
            archive.writestr(f"{split}/1/y.png", png(2))
            archive.writestr("__MACOSX/0/._x.png", b"no picture")
            archive.writestr("readme.txt", b"")
    found = sources(tmp_path, mpp=1.0)
    assert [(source.path, source.split) for source in found] == [
        ("train.zip", "train"),
        ("valid.zip", "valid"),
    ]
    with reader(found[0], tmp_path, mpp=1.0) as opened:
        assert opened.plan().labels["tissue"].values.to_pylist() == ["0", "1"]


def test_one_zip_with_split_folders_gives_splits(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in ["mine/train/a/1.png", "mine/test/b/2.png"]:
            archive.writestr(name, png(1))
    (source,) = sources(tmp_path / "all.zip", mpp=1.0)
    with reader(source, tmp_path / "all.zip", mpp=1.0) as opened:
        plan = opened.plan()
    assert source.split is None
    assert plan.rows.column("split").to_pylist() == ["test", "train"]
    assert plan.labels["tissue"].values.to_pylist() == ["b", "a"]


def test_damaged_members_are_counted_and_the_rest_goes_on(tmp_path: Path) -> None:
    whole = png(1)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("a/1.png", b"")
        archive.writestr("a/2.png", whole[: len(whole) // 2])
        archive.writestr("b/3.png", b"not a picture")
        archive.writestr("b/4.png", png(4, 8))
        archive.writestr("b/5.png", whole)
    (source,) = sources(tmp_path, mpp=1.0)
    with reader(source, tmp_path, mpp=1.0) as opened:
        answers = list(opened.read(opened.plan().rows))
    assert [isinstance(answer, CorruptSample) for answer in answers] == [True] * 4 + [False]
    assert all("\n" not in a.reason for a in answers if isinstance(a, CorruptSample))


def write_pair(folder: Path, split: str, count: int = 4) -> None:
    with h5py.File(folder / f"camelyonpatch_level_2_split_{split}_x.h5", "w") as handle:
        handle["x"] = np.stack([picture(seed) for seed in range(count)])
    with h5py.File(folder / f"camelyonpatch_level_2_split_{split}_y.h5", "w") as handle:
        handle["y"] = (np.arange(count, dtype=np.uint8) % 2).reshape(-1, 1, 1, 1)


def test_patchcamelyon_pairs_are_read_losslessly(tmp_path: Path) -> None:
    write_pair(tmp_path, "test")
    (source,) = sources(tmp_path, mpp=1.0, task="tumour")
    assert (source.kind, source.split) == ("set-h5", "test")
    with reader(source, tmp_path, mpp=1.0, task="tumour") as opened:
        plan = opened.plan()
        assert plan.labels["tumour"].values.to_pylist() == ["0", "1", "0", "1"]
        images = [s.image for s in opened.read(plan.rows) if isinstance(s, Sample)]
    assert all((image == picture(seed)).all() for seed, image in enumerate(images))


def test_a_cut_h5_is_one_unreadable_source(tmp_path: Path) -> None:
    write_pair(tmp_path, "train")
    path = tmp_path / "camelyonpatch_level_2_split_train_x.h5"
    path.write_bytes(path.read_bytes()[:900])
    (source,) = sources(tmp_path, mpp=1.0)
    with pytest.raises(UnreadableSource, match="not a whole PatchCamelyon pair"):
        reader(source, tmp_path, mpp=1.0)


def test_two_layouts_in_one_folder_are_refused_by_name(tmp_path: Path) -> None:
    write_pair(tmp_path, "train")
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        archive.writestr("train/0/x.png", png(1))
    with pytest.raises(DataError, match=r"h5 and zip.*--layout"):
        sources(tmp_path, mpp=1.0)
    assert [source.kind for source in sources(tmp_path, mpp=1.0, layout="zip")] == ["set-zip"]
    assert [source.kind for source in sources(tmp_path, mpp=1.0, layout="h5")] == ["set-h5"]


def test_a_layout_that_is_not_there_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a/1.png", png(1))
    with pytest.raises(DataError, match="nothing of layout zip"):
        sources(tmp_path, mpp=1.0, layout="zip")


def test_a_set_without_a_scale_is_refused(tmp_path: Path) -> None:
    write_pair(tmp_path, "train")
    with pytest.raises(DataError, match=r"set \(h5\), whose tiles have no scale: give --mpp, or"):
        sources(tmp_path)


def test_the_sets_scale_is_no_scale_of_slides(tmp_path: Path) -> None:
    write(tmp_path / "a.png", png(1))
    with pytest.raises(DataError, match="--default-mpp"):
        sources(tmp_path, mpp=1.0)


def test_a_smaller_field_is_refused_with_both_figures() -> None:
    with pytest.raises(DataError, match=r"48.0 um.*112.0 um"):
        fit(picture(1, 96), 0.5, TileSampling(size_px=224, tile_mpp=0.5))


def test_a_coarser_set_is_refused() -> None:
    with pytest.raises(DataError, match="upsampled"):
        fit(picture(1, 500), 0.6, TileSampling(size_px=64, tile_mpp=0.5))


def test_a_larger_field_is_cut_to_its_centre() -> None:
    image = picture(1, 20)
    assert (fit(image, 1.0, CUT) == image[2:18, 2:18]).all()


def test_an_equal_field_is_averaged_to_the_tile() -> None:
    made = fit(np.kron(picture(1), np.ones((2, 2, 1), np.uint8)), 0.5, CUT)
    assert (made == picture(1)).all()


def test_cases_come_from_the_path_by_pattern(tmp_path: Path) -> None:
    for name in ["a/P1-1.png", "a/P2-1.png", "b/x.png"]:
        write(tmp_path / name, png(1))
    (source,) = sources(tmp_path, mpp=1.0, case_regex=r"/(P\d+)")
    with reader(source, tmp_path, mpp=1.0, case_regex=r"/(P\d+)") as opened:
        assert opened.plan().rows.column("case").to_pylist() == ["P1", "P2", None]


def test_classes_may_have_better_names_than_their_folders(tmp_path: Path) -> None:
    for seed, name in enumerate(["0/1.png", "1/1.png"]):
        write(tmp_path / name, png(seed))
    (source,) = sources(tmp_path, mpp=1.0)
    names = "0=normal, 1 = tumour"
    with reader(source, tmp_path, mpp=1.0, class_names=names) as opened:
        assert opened.plan().labels["tissue"].values.to_pylist() == ["normal", "tumour"]
    with pytest.raises(DataError, match=r"no class 2 here, .* \(there are 0, 1\)"):
        sources(tmp_path, mpp=1.0, class_names="2=other")


@pytest.mark.parametrize("text", ["", "0", "0=", "=a", "0=a,0=b"])
def test_wrong_class_names_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="class_names"):
        PrepareOptions(class_names=text)


def test_another_case_of_one_picture_is_a_change(tmp_path: Path) -> None:
    for name in ("a/1.png", "a/2.png"):
        write(tmp_path / "set" / name, png(1))
    cases = tmp_path / "cases.csv"
    found = []
    for case in ("p1", "p2"):
        write(cases, f"slide,case\na/1.png,p1\na/2.png,{case}\n".encode())
        found += sources(tmp_path / "set", mpp=1.0, layout="folders", cases=cases)
    assert not found[1].as_before(found[0])


def test_cases_of_other_pictures_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "set" / "a" / "1.png", png(1))
    write(tmp_path / "set" / "b" / "2.png", png(2))
    cases = tmp_path / "cases.csv"
    for text, known in (("slide,case\n7.svs,p1\n", False), ("slide,case\n7.svs,p1\n2,p2\n", True)):
        write(cases, text.encode())
        for layout in ("folders", "slides"):
            options = {"layout": layout, "cases": cases}
            options |= {"mpp": 1.0} if layout == "folders" else {"default_mpp": 1.0}
            if known:
                assert sources(tmp_path / "set", missing_cases="source", **options)
            else:
                with pytest.raises(DataError, match=r"none of its 1 rows \(7.svs\) is one of"):
                    sources(tmp_path / "set", **options)


def tiff(seed: int) -> bytes:
    """Without compression: every picture is as long as any other."""
    out = BytesIO()
    Image.fromarray(picture(seed, 64)).save(out, "TIFF")
    return out.getvalue()


@pytest.mark.parametrize("layout", ["folders", "csv"])
def test_pictures_of_the_same_names_and_sizes_are_another_set(tmp_path: Path, layout: str) -> None:
    for seed, site in enumerate(("a", "b", "copy")):
        write(tmp_path / site / "glands" / "0.tif", tiff(seed % 2))
        write(tmp_path / site / "stroma" / "0.tif", tiff(7))
        if layout == "csv":
            lines = "path,label\nglands/0.tif,glands\nstroma/0.tif,stroma\n"
            write(tmp_path / site / "list.csv", lines.encode())
    roots = {"input": tmp_path / "a", "input2": tmp_path / "b", "input3": tmp_path / "copy"}
    options = PrepareOptions(mpp=1.0, layout=layout)
    ids = [source.id for source in DOMAIN.find(roots, options)]
    assert len(set(ids)) == 2
    assert ids[0] == ids[2]


def test_class_folders_that_are_links_are_followed(tmp_path: Path) -> None:
    for seed in range(4):
        write(tmp_path / "pool" / "tumour" / f"{seed}.png", png(seed))
        write(tmp_path / "in" / "normal" / f"{seed}.png", png(seed + 4))
    (tmp_path / "in" / "tumour").symlink_to("../pool/tumour", target_is_directory=True)
    (source,) = sources(tmp_path / "in", mpp=1.0)
    with reader(source, tmp_path / "in", mpp=1.0) as opened:
        plan = opened.plan()
        labels = plan.labels["tissue"].values.to_pylist()
        assert all(isinstance(one, Sample) for one in opened.read(plan.rows))
    assert (labels.count("normal"), labels.count("tumour")) == (4, 4)


def test_a_split_folder_may_be_a_link_and_a_loop_is_said(tmp_path: Path) -> None:
    for name in ("train/a/1.png", "train/b/2.png", "else/a/3.png", "else/b/4.png"):
        write(tmp_path / ("" if name.startswith("else") else "in") / name, png(1))
    place = tmp_path / "in"
    (place / "test").symlink_to(tmp_path / "else", target_is_directory=True)
    (place / "train" / "a" / "loop").symlink_to(place / "train", target_is_directory=True)
    (source,) = sources(place, mpp=1.0)
    (passed,) = of_kind(Unused, place, mpp=1.0)
    assert passed.name == "train/a/loop"
    assert passed.reason == "leads to train, searched already; not read twice"
    with reader(source, place, mpp=1.0) as opened:
        rows = opened.plan().rows.to_pylist()
    assert [(row["split"], row["member"]) for row in rows] == [
        ("test", "test/a/3.png"),
        ("test", "test/b/4.png"),
        ("train", "train/a/1.png"),
        ("train", "train/b/2.png"),
    ]


def test_results_beside_class_folders_are_no_class(tmp_path: Path) -> None:
    for seed, name in enumerate(["a/1.png", "b/2.png", "out/results/x/overlay.png"]):
        write(tmp_path / name, png(seed))
    write_json(tmp_path / "out" / "predict.json", "histoscope.predict", 2, {})
    (source,) = sources(tmp_path, mpp=1.0)
    with reader(source, tmp_path, mpp=1.0) as opened:
        assert opened.plan().labels["tissue"].values.to_pylist() == ["a", "b"]
    (passed,) = of_kind(Unused, tmp_path, mpp=1.0)
    assert (passed.name, passed.reason) == ("out", "results of histoscope; not searched")
