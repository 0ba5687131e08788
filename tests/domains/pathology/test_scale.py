from __future__ import annotations

from pathlib import Path

import pytest

from histoscope.core.errors import DataError, UnreadableSource
from histoscope.domains.pathology.scale import Scale, ScaleList, check, implausible, resolve


@pytest.mark.parametrize(
    "mpp", [None, 0.0, float("nan"), 0.049, 100.1, 352.78, 352.7777, 264.58, -1]
)
def test_what_cannot_be_a_scale_counts_as_missing(mpp: float | None) -> None:
    assert implausible(mpp)


@pytest.mark.parametrize("mpp", [0.05, 0.2282, 0.499, 28.97, 100.0])
def test_what_may_be_a_scale_is_kept(mpp: float) -> None:
    assert implausible(mpp) == ""


def test_the_csv_beats_the_file_and_the_default_only_fills_a_gap() -> None:
    assert resolve((0.5, 0.5), 0.25, 1.0) == Scale(0.25, 0.25, "mpp-csv")
    assert resolve((0.5, 0.51), None, 1.0) == Scale(0.5, 0.51, "file")
    assert resolve(None, None, 1.0) == Scale(1.0, 1.0, "default-mpp")


@pytest.mark.parametrize("dpi", [72, 96, 150, 300, 600, 1200])
def test_a_screen_or_printer_resolution_is_no_scale_and_both_options_beat_it(dpi: int) -> None:
    stated = (25400 / dpi, 25400 / dpi)
    for one in (resolve(stated, None, 0.5), resolve(stated, 0.5, None)):
        assert (one.x_um, one.y_um) == (0.5, 0.5)
        assert f"{dpi} dpi default of image programs" in one.refused
    with pytest.raises(UnreadableSource, match=f"{dpi} dpi .*; give --default-mpp or --mpp-csv"):
        resolve(stated, None, None)


def test_what_cannot_be_read_is_missing_and_said() -> None:
    words = "PhysicalSizeX '0,499' is no number"
    assert resolve(None, None, 0.5, words) == Scale(0.5, 0.5, "default-mpp", words)
    assert resolve(None, 0.25, 0.5, words) == Scale(0.25, 0.25, "mpp-csv", words)
    with pytest.raises(UnreadableSource, match=f"{words}; give --default-mpp"):
        resolve(None, None, None, words)


def test_a_missing_scale_names_both_flags() -> None:
    with pytest.raises(UnreadableSource, match=r"no mpp .* --default-mpp or --mpp-csv"):
        resolve(None, None, None)


def test_an_overview_is_refused_with_both_figures() -> None:
    with pytest.raises(UnreadableSource, match=r"28.97 .* overview, or a wrong scale \(0.5 um/px"):
        check(Scale(28.97, 28.97, "file"), 0.5, allow_anisotropic=False)


def test_an_overview_is_refused_even_where_nothing_would_be_upsampled_unless_vouched_for() -> None:
    with pytest.raises(UnreadableSource, match="overview"):
        check(Scale(2.0, 2.0, "file"), 4.0, allow_anisotropic=False)
    check(Scale(2.0, 2.0, "mpp-csv"), 4.0, allow_anisotropic=False)


def test_upsampling_above_five_percent_is_refused() -> None:
    check(Scale(0.524, 0.524, "file"), 0.5, allow_anisotropic=False)
    with pytest.raises(UnreadableSource, match="upsampled"):
        check(Scale(0.526, 0.526, "file"), 0.5, allow_anisotropic=False)


def test_pixels_that_are_not_square_need_a_word() -> None:
    skewed = Scale(0.25, 0.27, "file")
    with pytest.raises(UnreadableSource, match="--allow-anisotropic"):
        check(skewed, 0.5, allow_anisotropic=False)
    check(skewed, 0.5, allow_anisotropic=True)


def test_the_list_takes_bom_semicolons_commas_and_three_kinds_of_name(tmp_path: Path) -> None:
    path = tmp_path / "mpp.csv"
    path.write_text("\ufeffWSI;mpp\na.svs;0,25\nb;0.5\nward 3/c.tif;0.75\n", encoding="utf-8")
    paths = ["deep/a.svs", "deep/b.ndpi", "ward 3/c.tif", "ward 4/c.tif"]
    scales, unused = ScaleList(path).of(paths)
    assert scales == {"deep/a.svs": 0.25, "deep/b.ndpi": 0.5, "ward 3/c.tif": 0.75}
    assert unused == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("slide,scale\na,0.5\n", "no column mpp"),
        ("name,mpp\na,0.5\n", "no column slide"),
        ("slide,mpp\na,fine\n", "not a number"),
        ("slide,mpp\na,352.78\n", "72 dpi"),
        ("slide,mpp\n\na,0.5\na,0.25\n", "line 4: a stands twice"),
        ("slide,mpp\na,0,5\n", "line 2: 3 cells under 2 names"),
    ],
)
def test_a_wrong_list_is_refused_in_one_line(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "mpp.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=reason) as caught:
        ScaleList(path)
    assert "\n" not in str(caught.value)


def test_an_absent_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.csv"):
        ScaleList(tmp_path / "none.csv")
