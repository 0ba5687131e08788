"""CSV files as people and their programs write them."""

from __future__ import annotations

import pytest

from histoscope.core.errors import DataError
from histoscope.core.tables.spreadsheet import header_of, read_sheet


def sheet(tmp_path, text):
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8")
    return read_sheet(path)


def test_a_row_has_the_number_of_the_line_where_it_begins(tmp_path):
    found = sheet(tmp_path, '\ufeffFile; ;Note;\n\n a ;x;"two\nlines; one cell"\n;;;;\nb\n')
    assert found.names == ["File", "Note"]
    assert found.rows == [
        (3, {"file": "a", "note": "two\nlines; one cell"}),
        (6, {"file": "b", "note": ""}),
    ]
    assert found.column("path", "file") == "file"
    with pytest.raises(DataError, match=r"a.csv: no column path or slide \(it has File, Note\)"):
        found.column("path", "slide")


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("between", [",", ";", "\t"])
def test_any_line_ends_and_columns_divided_by_comma_semicolon_or_tab(tmp_path, ends, between):
    text = f"a{between}b{ends}1{between}2\u2028{between}{ends}"
    (tmp_path / "a.csv").write_bytes(text.encode())
    assert read_sheet(tmp_path / "a.csv").rows == [(2, {"a": "1", "b": "2"})]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("first", ["", "sep=;\n"])
def test_spreadsheets_unicode_text_and_their_line_for_the_separator(tmp_path, encoding, first):
    path = tmp_path / "a.csv"
    path.write_bytes(f"{first}Path;Label\na,b;Entzündung\n".encode(encoding))
    found = read_sheet(path)
    assert [row for _, row in found.rows] == [{"path": "a,b", "label": "Entzündung"}]
    assert header_of(path) == {"path", "label"}


def test_text_of_another_encoding_is_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("path;label\na;Entzündung\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"a.csv: not UTF-8 text; save it as CSV UTF-8"):
        read_sheet(path)
    assert header_of(path) == set()


@pytest.mark.parametrize("odd", ["", "x"])
def test_a_header_is_found_wherever_the_beginning_of_a_long_file_is_cut(tmp_path, odd):
    path = tmp_path / "a.csv"
    path.write_bytes(f"path,label\n{odd}{'ü' * 40_000},a\n".encode())
    assert header_of(path) == {"path", "label"}
    path.write_bytes("path,ü".encode())
    assert header_of(path) == {"path", "ü"}
