"""Class folders as they are in the wild: taken, or it is said why not and what takes them."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histoscope.core.contracts import Source, Unused
from histoscope.core.errors import DataError
from histoscope.domains.pathology import DOMAIN
from histoscope.domains.pathology.options import PrepareOptions, TileSampling


def write(path: Path, side: int = 16, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    data = BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    path.write_bytes(data.getvalue())


def find(place: Path, **options: object) -> tuple[list[Source], list[Unused]]:
    found = list(DOMAIN.find({"input": place}, PrepareOptions.model_validate(options)))
    sources = [one for one in found if isinstance(one, Source)]
    return sources, [one for one in found if isinstance(one, Unused)]


def rows(place: Path, **options: object) -> list[tuple[str, str | None, str | None, str | None]]:
    """Member, label, split and case of each picture of the one set."""
    ((source,), _) = find(place, mpp=1.0, **options)
    cut = TileSampling(size_px=16, tile_mpp=1.0)
    with DOMAIN.open(source, {"input": place}, cut) as reader:
        plan = reader.plan()
        labels = plan.labels["tissue"].values.to_pylist()
        found = plan.rows.to_pylist()
    return [
        (row["member"], label, row.get("split"), row.get("case"))
        for row, label in zip(found, labels, strict=True)
    ]


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["tumour/1.png"], "tumour is the only folder; --layout folders takes it as the class"),
        (["a/1.png", "b/1.png", "overview.png"], "overview.png lies beside the folders"),
        (["a/P0/1.png", "b/P0/2.png"], r"folders lie in folders \(a/P0\).*--layout case-folders"),
        (["a/big/1.png", "b/big/1.png"], "folders lie in folders"),
        (["a/1.png", "b/1_large.png"], r"pictures are of several sizes \(16 x 16, 20 x 20 px\)"),
        (["a/1_huge.png", "b/1_huge.png"], "pictures of 2049 x 2049 px are no tiles"),
    ],
)
def test_folders_that_are_not_taken_say_why_and_what_takes_them(tmp_path, names, why):
    sides = {"large": 20, "huge": 2049}
    for name in names:
        write(tmp_path / name, next((sides[key] for key in sides if key in name), 16))
    with pytest.raises(DataError, match=f"--mpp is for labelled sets; .* is read as slides: {why}"):
        find(tmp_path, mpp=1.0)
    (sources, unused) = find(tmp_path)
    assert {source.kind for source in sources} == {"image"}
    assert [one.kind for one in unused] == [] if "huge" in names[0] else ["class folders"]
    assert all("--layout folders" in one.reason for one in unused)
    ((taken,), _) = find(tmp_path, mpp=1.0, layout="folders")
    assert taken.kind == "set-folders"


def test_an_empty_class_does_not_hide_the_others(tmp_path):
    write(tmp_path / "a/1.png")
    write(tmp_path / "b/2.png")
    (tmp_path / "necrosis").mkdir()
    (sources, unused) = find(tmp_path, mpp=1.0)
    assert [source.kind for source in sources] == ["set-folders"]
    assert unused == [Unused("class folders", "necrosis", "no picture in it")]


@pytest.mark.parametrize("words", [("Training", "Testing"), ("train", "dev"), ("TRAIN", "Val")])
def test_usual_words_for_splits_are_known(tmp_path, words):
    for word in words:
        for kind in ("a", "b"):
            write(tmp_path / word / kind / "1.png")
    first, second = (
        {"t": "train", "d": "valid", "v": "valid"}[word[0].lower()] if word != "Testing" else "test"
        for word in words
    )
    found = rows(tmp_path)
    assert {(name.split("/")[0], split) for name, _, split, _ in found} == {
        (words[0], first),
        (words[1], second),
    }
    assert {label for _, label, _, _ in found} == {"a", "b"}


def test_folders_of_cases_give_cases_and_classes(tmp_path):
    for name in ("P0/a/1.png", "P0/b/2.png", "P1/a/3.png"):
        write(tmp_path / name)
    assert rows(tmp_path, layout="case-folders") == [
        ("P0/a/1.png", "a", None, "P0"),
        ("P0/b/2.png", "b", None, "P0"),
        ("P1/a/3.png", "a", None, "P1"),
    ]
    ((source,), _) = find(tmp_path, mpp=1.0, layout="folders")
    assert "classes are P0, P1; folders in them mean nothing (P0/a)" in source.note


def test_one_folder_around_others_is_asked_about(tmp_path):
    for name in ("tumour/P0/1.png", "tumour/P1/2.png"):
        write(tmp_path / name)
    with pytest.raises(DataError, match="if it is the class, give --class-names tumour=tumour"):
        find(tmp_path, mpp=1.0, layout="folders")
    found = rows(tmp_path, layout="folders", class_names="tumour=tumour")
    assert [label for _, label, _, _ in found] == ["tumour", "tumour"]
    inner = rows(tmp_path / "tumour")
    assert [label for _, label, _, _ in inner] == ["P0", "P1"]


def test_pictures_in_no_class_are_counted(tmp_path):
    for name in ("a/1.png", "b/2.png", "overview.png"):
        write(tmp_path / name)
    ((source,), _) = find(tmp_path, mpp=1.0, layout="folders")
    assert "1 pictures lie in no folder of a class: no label (overview.png)" in source.note


@pytest.mark.parametrize("layout", ["auto", "slides"])
def test_what_looks_like_a_picture_and_is_not_read_is_listed(tmp_path, layout):
    for name in ("a/1.png", "b/2.png"):
        write(tmp_path / name)
    for name in ("a/x.gif", "a/y.heic", "b/z.npy", "b/readme.txt"):
        (tmp_path / name).write_bytes(b"x")
    mpp = 1.0 if layout == "auto" else None
    (_, unused) = find(tmp_path, layout=layout, mpp=mpp)
    listed = [one.name for one in unused if one.kind == "files of kinds that are not read"]
    assert listed == ["a/x.gif", "a/y.heic", "b/z.npy"]


def test_jpeg_2000_tiles_are_read(tmp_path):
    for kind in ("a", "b"):
        (tmp_path / kind).mkdir()
        Image.new("RGB", (16, 16), (200, 100, 50)).save(tmp_path / kind / "1.jp2")
    assert [label for _, label, _, _ in rows(tmp_path)] == ["a", "b"]


def test_spellings_of_one_class_are_refused_over_all_sets(tmp_path):
    for folder, kind in (("one", "normal"), ("two", "Normal")):
        for name in (kind, "tumour"):
            write(tmp_path / folder / name / "1.png", seed=len(folder + name + kind))
    options = PrepareOptions(mpp=1.0)
    roots = {"one": tmp_path / "one", "two": tmp_path / "two"}
    with pytest.raises(DataError, match="'Normal', 'normal' differ in their spelling alone"):
        list(DOMAIN.find(roots, options))
    merged = PrepareOptions(mpp=1.0, class_names="Normal=normal")
    assert len(list(DOMAIN.find({"two": roots["two"]}, merged))) == 1
