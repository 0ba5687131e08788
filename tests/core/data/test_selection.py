"""Split files: what is misspelt is said, not passed over."""

from __future__ import annotations

import pytest

from histoscope.core.data.selection import select
from histoscope.core.errors import DataError


@pytest.fixture
def chosen(toy_store, tmp_path):
    """The training part of a file with these lines."""

    def act(*lines):
        (tmp_path / "split.csv").write_text("\n".join(["id,split", *lines]) + "\n")
        return select(toy_store, "train", f"{tmp_path / 'split.csv'}:train")

    act.ids = toy_store.index.column("id").to_pylist()
    return act


def test_rows_of_other_parts_and_of_none_are_passed_over(chosen):
    one, other, third, fourth = chosen.ids[:4]
    found = chosen(f"{one},train", f"{other},test", f"{third},", f"{fourth},train")
    assert found.rows.tolist() == [0, 3]
    assert found.said.endswith("split.csv: 2 samples")


def test_those_that_the_store_does_not_have_are_counted(chosen):
    found = chosen(f"{chosen.ids[0]},train", "nobody,train", "else,test")
    assert "(1 of its 2 ids are not in the store: nobody): 1 samples" in found.said


def test_where_none_is_there_it_is_told_what_is(chosen):
    said = r"no sample in train of split.csv \(2 of its 2 ids are not in the store: nobody, else; "
    with pytest.raises(DataError, match=said + f"the store has {sorted(chosen.ids)[0]}, "):
        chosen("nobody,train", "else,train", f"{chosen.ids[0]},test")


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (("{0},Train",), r"line 2: split 'Train', did you mean 'train'\?; known: train, valid"),
        (("{0},train", "", "{1},holdout"), r"line 4: split 'holdout'; known"),
        (("{0},train", "{1},test,valid"), "line 3: 3 cells under 2 names"),
        (("{0},train", "{1},train", "{0},test"), r"line 4: .* stands in two splits"),
    ],
)
def test_another_word_and_two_splits_are_refused(chosen, lines, says):
    with pytest.raises(DataError, match=says):
        chosen(*(line.format(*chosen.ids) for line in lines))


def test_sources_are_named_by_id_or_path(toy_store, tmp_path):
    manifest = toy_store.manifest
    (first, row), (second, other) = list(manifest.items())[:2]
    path = tmp_path / "split.csv"
    path.write_text(f"source,split\n{first},train\n{other['path']},train\ngone.npy,train\n")
    found = select(toy_store, "train", f"{path}:train")
    sources = toy_store.index.column("source").take(found.rows).unique().to_pylist()
    assert sources == [first, second]
    assert "(1 of its 3 sources are not in the store: gone.npy)" in found.said
    path.write_text(f"source,split\n{first},train\n{row['path']},test\n")
    with pytest.raises(DataError, match="stands in two splits"):
        select(toy_store, "train", f"{path}:train")
