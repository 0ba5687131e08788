"""Which file of drawings speaks of which slide."""

from __future__ import annotations

import pytest

from histoscope.core.errors import DataError
from histoscope.domains.pathology.annotations.matching import check_files, match


def test_files_are_matched_by_path_before_name_and_with_or_without_suffix(tmp_path):
    (tmp_path / "y.xml").write_text("<Annotations/>")  # as ImageScope leaves it beside a slide
    for name in ("b/x.geojson", "x.svs.GEOJSON", "y.geojson", "z.tif.geojson", "lost.geojson"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("[]")
    slides = {"1": "x.svs", "2": "b/x.svs", "3": "a/y.svs", "4": "z.svs"}
    found = match(tmp_path, slides)
    names = {key: [path.name for path in files] for key, files in found.files.items()}
    assert names == {"1": ["x.svs.GEOJSON"], "2": ["x.geojson"], "3": ["y.geojson"]}
    assert {path.name: reason for path, reason in found.idle.items()} == {
        "z.tif.geojson": "no slide of this name; near: z.svs",
        "lost.geojson": "no slide of this name",
        "y.xml": "an XML of another program, not ASAP's",
    }


def test_a_file_that_may_speak_of_two_slides_is_refused(tmp_path):
    (tmp_path / "x.geojson").write_text("[]")
    check_files(tmp_path, ["a/x.svs", "a/y.svs"])
    check_files(tmp_path, ["x.svs", "b/x.svs"])  # the path agrees with one
    with pytest.raises(DataError, match=r"several slides \(a/x.svs, b/x.svs\)"):
        check_files(tmp_path, ["a/x.svs", "b/x.svs"])
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(DataError, match=r"x.json: no .geojson or .xml file"):
        check_files(tmp_path / "x.json", ["x.svs"])
    (tmp_path / "x.json").unlink()
    (tmp_path / "empty").mkdir()
    for name, words in (
        ("none", "no such file or folder"),
        ("empty", r"no \.geojson or \.xml file"),
    ):
        with pytest.raises(DataError, match=words):
            check_files(tmp_path / name, [])


def test_a_folder_that_speaks_of_no_slide_is_refused(tmp_path):
    (tmp_path / "z.geojson").write_text("[]")
    with pytest.raises(DataError, match=r"no file of a slide here in it \(z.geojson\)"):
        check_files(tmp_path, ["x.svs", "y.svs"])
