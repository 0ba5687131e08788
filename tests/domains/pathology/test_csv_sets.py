"""Lists of pictures with their labels (CSV), as people write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from histoscope.core.contracts import CorruptSample, Sample
from histoscope.core.errors import DataError
from histoscope.core.progress import Silent
from histoscope.core.stages.prepare import prepare
from histoscope.core.work.local import Local
from histoscope.domains.pathology import DOMAIN
from histoscope.domains.pathology.options import PrepareOptions
from tests.domains.pathology.tile_sets import CUT, png, reader, sources, write


def test_a_csv_gives_labels_cases_and_splits(tmp_path: Path) -> None:
    for name in ("x/1.png", "x/2.png"):
        write(tmp_path / name, png(1))
    text = "\ufeffpath;label;case;split\nx/1.png;tumour;P1;train\nx/2.png;;P2;val\ngone.png;a;;\n"
    (tmp_path / "tiles.csv").write_text(text, encoding="utf-8")
    (source,) = sources(tmp_path, mpp=1.0)
    assert source.kind == "set-csv"
    with reader(source, tmp_path, mpp=1.0) as opened:
        plan = opened.plan()
        answers = list(opened.read(plan.rows))
    assert plan.labels["tissue"].values.to_pylist() == ["tumour", None, "a"]
    assert plan.rows.column("case").to_pylist() == ["P1", "P2", None]
    assert plan.rows.column("split").to_pylist() == ["train", "valid", None]
    assert isinstance(answers[2], CorruptSample)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("a.png,x,later\n", "line 2: split 'later'"),
        ("a.png,x,\n\na.png,x,\n", "line 4: a.png stands twice"),
        ("a,b.png,x,train\n", "line 2: 4 cells under 3 names"),
    ],
)
def test_a_wrong_csv_is_refused(tmp_path: Path, rows: str, reason: str) -> None:
    (tmp_path / "tiles.csv").write_text("path,label,split\n" + rows)
    (source,) = sources(tmp_path, mpp=1.0)
    with pytest.raises(DataError, match=reason):
        reader(source, tmp_path, mpp=1.0)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("path,label\nx/1.png,a\n2,b\n", ["x/1.png", "x/2.png"]),
        ("filename,class\n.\\x\\1.png,a\nX/2.PNG,b\n", ["x/1.png", "x/2.png"]),
        ("sep=;\nPath;Label\nx/1;a\n2.png;b\n", ["x/1.png", "x/2.png"]),
    ],
)
def test_paths_of_a_csv_are_completed_and_that_is_noted(
    tmp_path: Path, text: str, found: list[str]
) -> None:
    for name in ("x/1.png", "x/2.png"):
        write(tmp_path / name, png(1))
    (tmp_path / "tiles.csv").write_text(text)
    (source,) = sources(tmp_path, mpp=1.0)
    with reader(source, tmp_path, mpp=1.0) as opened:
        plan = opened.plan()
        answers = list(opened.read(plan.rows))
    assert plan.rows.column("member").to_pylist() == found
    assert plan.labels["tissue"].values.to_pylist() == ["a", "b"]
    assert all(isinstance(one, Sample) for one in answers)
    assert "paths were completed, as" in source.note


def test_columns_of_a_csv_that_are_not_read_are_noted(tmp_path: Path) -> None:
    write(tmp_path / "1.png", png(1))
    (tmp_path / "tiles.csv").write_text("path,label,Age,Sex\n1.png,a,70,f\n")
    (source,) = sources(tmp_path, mpp=1.0, layout="csv")
    assert source.note == "columns not read: Age, Sex"


@pytest.mark.parametrize(
    ("files", "rows", "reason"),
    [
        (["x/1.png", "y/1.png"], "1.png,a\n", "line 2: 1.png may be x/1.png, y/1.png; write the"),
        (["x/1.png"], "x/1.png,a\n1,b\n", "line 3: x/1.png stands twice"),
        (["x/1.png"], "2.png,a\n3.png,b\n", r"none of its 2 pictures is there \(2.png\)"),
    ],
)
def test_paths_of_no_picture_or_of_two_are_refused(
    tmp_path: Path, files: list[str], rows: str, reason: str
) -> None:
    for name in files:
        write(tmp_path / name, png(1))
    (tmp_path / "tiles.csv").write_text("path,label\n" + rows)
    (source,) = sources(tmp_path, mpp=1.0, layout="csv")
    with pytest.raises(DataError, match=reason):
        reader(source, tmp_path, mpp=1.0, layout="csv")


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    write(tmp_path / "1.png", png(1))
    (tmp_path / "tiles.csv").write_text("path,label\n1.png,a\n2.png,b\n")
    (source,) = sources(tmp_path, mpp=1.0, layout="csv")
    with reader(source, tmp_path, mpp=1.0, layout="csv") as opened:
        _, lost = opened.read(opened.plan().rows)
    assert lost == CorruptSample("unreadable (no such file: 2.png)")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("path;label\na;Entzündung\n".encode("cp1252"), "not UTF-8 text; save it as CSV UTF-8"),
        (b"slide,grade\na,1\n", "no column path or file or filename .it has slide, grade."),
    ],
)
def test_a_csv_that_is_no_list_says_why(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "tiles.csv").write_bytes(data)
    with pytest.raises(DataError, match=reason):
        sources(tmp_path, mpp=1.0, layout="csv")


@pytest.mark.parametrize("how", ["null_values", "class_names"])
def test_a_word_for_none_is_unknown_or_a_class_as_it_is_told(tmp_path: Path, how: str) -> None:
    for name in ("1.png", "2.png"):
        write(tmp_path / name, png(1))
    (tmp_path / "tiles.csv").write_text("path,label\n1.png,a\n2.png,NA\n")
    with pytest.raises(DataError, match="is 'NA' a class, or is it unknown"):
        sources(tmp_path, mpp=1.0, layout="csv")
    told = {"null_values": "NA"} if how == "null_values" else {"class_names": "NA=NA"}
    (source,) = sources(tmp_path, mpp=1.0, layout="csv", **told)
    with reader(source, tmp_path, mpp=1.0, layout="csv", **told) as opened:
        values = opened.plan().labels["tissue"].values.to_pylist()
    assert values == ["a", None if how == "null_values" else "NA"]


def test_one_letter_of_one_label_in_a_long_list_is_a_change(tmp_path: Path) -> None:
    """Also where neither the size nor the blocks that identify the file know of it."""
    write(tmp_path / "0.png", png(1))
    lines = ["path,label", *(f"{place}.png,normal" for place in range(6_000))]
    found = []
    for changed in (None, 2_700, None):
        written = [
            line.replace("normal", "tumour") if row == changed else line
            for row, line in enumerate(lines)
        ]
        write(tmp_path / "list.csv", "\n".join(written).encode())
        found += sources(tmp_path, mpp=1.0, layout="csv")
    first, changed, back = found
    assert first.id == changed.id
    assert not changed.as_before(first)
    assert back.as_before(first)


def test_a_set_whose_broken_picture_was_mended_is_read_again(tmp_path: Path) -> None:
    place = tmp_path / "set"
    write(place / "list.csv", b"path,label\na.png,x\nb.png,y\nc.png,y\n")
    write(place / "a.png", png(1))
    write(place / "b.png", png(2)[:90])
    roots, options = {"input": place}, PrepareOptions(mpp=1.0, layout="csv")

    def call() -> list[tuple[str, int, int]]:
        found = prepare(
            DOMAIN, roots, CUT, options, tmp_path / "s", engine=Local(0), progress=Silent()
        )
        return [(one.status, one.samples, one.corrupt) for one in found]

    assert call() == [("done", 1, 2)]
    for seed, name in enumerate(("b.png", "c.png")):
        write(place / name, png(2 + seed))
    assert call() == [("done", 3, 0)]
