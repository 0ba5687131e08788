"""Tables that speak of files: nothing is dropped, nothing given to another."""

import pytest

from histoscope.core.contracts import Unused
from histoscope.core.errors import DataError
from histoscope.core.tables.files import Cases, FileTable
from histoscope.core.tables.names import Naming

SLIDES = Naming((".ome.tif", ".svs", ".tif"))
PATHS = ["P1/a.svs", "P2/b.tif", "P2/c.ome.tif"]


@pytest.fixture
def table(tmp_path):
    def write(*rows, head="slide,case"):
        path = tmp_path / "cases.csv"
        path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
        return path

    return write


def cases(path, missing=None, pattern=None):
    return Cases(path, pattern, ("slide",), SLIDES, missing)


def test_each_row_finds_its_file_and_what_does_not_is_listed_with_its_neighbours(table):
    path = table("A.SVS,p1", "b,p2", "P2\\C.OME.TIF,p3", "b2,p4", "gone,p5")
    told, unused = FileTable(path, "case", ("slide",), SLIDES).of(PATHS)
    assert told == {"P1/a.svs": "p1", "P2/b.tif": "p2", "P2/c.ome.tif": "p3"}
    assert [one.name for one in unused] == ["b2", "gone"]
    assert all(one.kind == "rows of cases.csv" for one in unused)
    assert unused[1].reason == "no such file here"


def test_columns_that_are_not_read_are_listed(table):
    path = table("a,p1,70,f", head="slide,case,Age,sex")
    told, unused = FileTable(path, "case", ("slide",), SLIDES).of(PATHS)
    assert told == {"P1/a.svs": "p1"}
    assert unused == [Unused("columns of cases.csv", name, "not read") for name in ("Age", "sex")]


def test_numbers_that_are_padded_otherwise_are_near_and_never_used(table):
    table = FileTable(table("S22-0123,p"), "case", ("slide",), SLIDES)
    told, _ = table.of(["S22-123.svs", "S22-0123.tif"])
    assert told == {"S22-0123.tif": "p"}
    _, (idle,) = FileTable(table.path, "case", ("slide",), SLIDES).of([])
    assert idle == Unused("rows of cases.csv", "S22-0123", "no such file here")


def test_a_row_of_two_files_is_refused_with_line_and_candidates(table):
    known = FileTable(table("same.tif,p1"), "case", ("slide",), SLIDES)
    said = r"cases.csv, line 2: same.tif may be P1/same.tif, P2/same.tif; write the whole path"
    with pytest.raises(DataError, match=said):
        known.of(["P1/same.tif", "P2/same.tif"])


def test_two_rows_of_one_file_with_two_values_are_refused(table):
    known = FileTable(table("a.svs,p1", "P1/a,p2"), "case", ("slide",), SLIDES)
    with pytest.raises(DataError, match=r"line 3: a.svs and P1/a are both P1/a.svs, with two val"):
        known.of(PATHS)
    assert FileTable(table("a.svs,p", "P1/a,p"), "case", ("slide",), SLIDES).of(PATHS)[1] == []


def test_a_table_that_fits_nothing_is_refused(table):
    known = FileTable(table("x,1", "y,2"), "case", ("slide",), SLIDES)
    with pytest.raises(
        DataError, match=r"none of its 2 rows \(x\) is one of the files here \(P1/a"
    ):
        known.of(PATHS)


def test_a_file_without_a_case_needs_a_word(table):
    path = table("a,p1")
    with pytest.raises(DataError, match=r"no case of P2/b.tif, P2/c.ome.tif; add them, or say"):
        cases(path).of(PATHS)
    told, unused = cases(path, "source").of(PATHS)
    assert told == {"P1/a.svs": "p1", "P2/b.tif": None, "P2/c.ome.tif": None}
    assert unused == []
    told, unused = cases(path, "drop").of(PATHS)
    assert told == {"P1/a.svs": "p1"}
    assert [one.name for one in unused] == PATHS[1:]
    told, _ = cases(path, None, r"(P\d)/").of(PATHS)  # the pattern says the rest
    assert told == {"P1/a.svs": "p1", "P2/b.tif": "P2", "P2/c.ome.tif": "P2"}
    told, _ = cases(path).of(PATHS, stated=PATHS[1:])
    assert told["P2/b.tif"] is None
    assert cases(None).of(PATHS) == (dict.fromkeys(PATHS), [])


@pytest.mark.parametrize("word", ["NA", "n/a", "None", "unknown", "?", "#N/A"])
def test_a_word_for_none_is_no_patient(table, word):
    with pytest.raises(DataError, match=r"line 3: case '.*': is that a patient\? Leave the cell"):
        cases(table("a,p1", f"b,{word}"))
    told, _ = cases(table("a,p1", "b,"), "source").of(PATHS)
    assert told["P2/b.tif"] is None
