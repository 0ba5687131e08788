"""A name finds its file by one rule, and never another's."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from histoscope.core.errors import DataError
from histoscope.core.tables.names import Files, Naming, ends, listed

SLIDES = Naming((".ome.tif", ".ome.tiff", ".svs", ".tif"))
VIDEOS = Naming((".mp4",), padded=True)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("P1/a.svs", "P1/a.svs"),
        ("a.svs", "P1/a.svs"),
        ("a", "P1/a.svs"),
        ("P1\\a.svs", "P1/a.svs"),
        ("./P1/a.svs", "P1/a.svs"),
        ("/data/slides/P1/a.svs", "P1/a.svs"),
        ("D:\\slides\\P1\\a", "P1/a.svs"),
        ("A.SVS", "P1/a.svs"),
        ("p1/A", "P1/a.svs"),
        (" a.svs ", "P1/a.svs"),
        ("b.ome.tif", "P2/b.ome.tif"),
        ("b", "P2/b.ome.tif"),
        (unicodedata.normalize("NFD", "Präparat"), "Präparat.tif"),
        (unicodedata.normalize("NFD", "PRÄPARAT.TIF"), "Präparat.tif"),
        ("S22-123", "S22-123.svs"),
        ("other", None),
        ("b.ome", None),
        ("a.tif", None),
        ("b.tif", None),
        ("S22-0123", None),
        ("1/a.svs", None),
        ("P3/a.svs", None),
        ("", None),
    ],
)
def test_a_name_finds_its_slide(name, path):
    known = ["P1/a.svs", "P2/b.ome.tif", "Präparat.tif", "S22-123.svs"]
    assert Files(known, SLIDES).the_one(name, "x.csv") == path


@pytest.mark.parametrize(
    ("name", "path"),
    [("video1", "video01.mp4"), ("Video001", "video01.mp4"), ("video10", "video10.mp4")],
)
def test_padded_numbers_join_videos(name, path):
    assert Files(["video01.mp4", "video10.mp4"], VIDEOS).the_one(name, "x") == path


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a.svs", "job/a.h5"),
        ("P1/a.svs", None),
        ("a", "job/a.h5"),
        ("job/a.h5", "job/a.h5"),
        ("A.TIF", "job/a.h5"),
        ("b.svs", "b.svs.h5"),
        ("a.png", None),
    ],
)
def test_a_loose_name_finds_what_was_made_of_its_slide(name, path):
    made = Naming((*SLIDES.suffixes, ".h5"), loose=True)
    assert Files(["job/a.h5", "b.svs.h5"], made).the_one(name, "x.csv") == path


def test_what_is_written_alike_comes_first():
    files = Files(["a.tif", "sub/a.tif", "A.tif"], SLIDES)
    assert files.find("a.tif") == ["a.tif"]
    assert files.find("A.tif") == ["A.tif"]
    assert files.find("a") == ["a.tif"]
    assert files.find("sub/a") == ["sub/a.tif"]


@pytest.mark.parametrize("name", ["same.tif", "same", "SAME"])
def test_a_name_of_two_files_is_refused_with_both(name):
    files = Files(["P1/same.tif", "P2/same.tif"], SLIDES)
    with pytest.raises(DataError, match=r"x: \w+.* may be P1/same.tif, P2/same.tif; write the who"):
        files.the_one(name, "x")
    assert files.the_one("P2/same", "x") == "P2/same.tif"


def test_two_suffixes_of_one_name_are_two_files():
    files = Files(["a.svs", "a.tif"], SLIDES)
    assert files.find("a.tif") == ["a.tif"]
    assert files.find("a") == ["a.svs", "a.tif"]


def test_what_is_near_is_named_and_never_used():
    files = Files(["S22-123.svs", "S22-999.svs"], SLIDES)
    assert files.find("S22-0123") == []
    assert files.near("S22-0123")[0] == "S22-123.svs"
    assert files.near("quite another") == []


@given(st.lists(st.text("ab/", min_size=1, max_size=6), min_size=1, max_size=6, unique=True))
def test_every_whole_path_finds_itself(paths):
    clean = list(dict.fromkeys(path.strip("/") for path in paths if path.strip("/")))
    clean = [path for path in clean if "//" not in path]
    for path in clean:
        assert Files(clean).find(path) == [path]


def test_ends_and_lists():
    assert ends("a/b/c") == ["a/b/c", "b/c", "c"]
    assert listed([*"abcdefg"]) == "a, b, c, d, e and 2 more"


def test_the_root_itself_may_be_a_source():
    files = Files([".", "a.svs"], SLIDES)
    assert files.find(".") == ["."]
    assert files.find("a") == ["a.svs"]
    assert files.find("") == []
