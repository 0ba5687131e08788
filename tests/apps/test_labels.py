"""``labels`` from the command line: where a table may go, and what it loses: nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from histoscope.apps.cli import run
from histoscope.core.contracts import Task
from histoscope.core.data.labels import LabelTable
from histoscope.core.data.store import Store


@pytest.fixture
def ids(store: Path) -> list[str]:
    return Store(store).index["id"].to_pylist()


@pytest.fixture
def file(ids: list[str], tmp_path: Path) -> Path:
    path = tmp_path / "a.csv"
    path.write_text(f"sample,task,label\n{ids[0]},mine,a\n{ids[1]},mine,b\n")
    return path


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command line that must be refused in one line, and change nothing."""

    def act(*words: object, keeps: Path) -> str:
        before = contents(keeps)
        capsys.readouterr()
        assert run([str(word) for word in words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert contents(keeps) == before
        return line

    return act


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_a_table_goes_nowhere_into_the_store(store, file, tmp_path, said):
    (tmp_path / "link.parquet").symlink_to(store / "index.parquet")
    (tmp_path / "other").symlink_to(store)
    for out in (
        store / "index.parquet",
        store / "labels" / "hue.parquet",
        store / "labels" / "new" / "x.parquet",
        tmp_path / "link.parquet",
        tmp_path / "other" / "x.parquet",
        store / "labels" / ".." / "x.parquet",
    ):
        line = said("labels", store, file, "--out", out, keeps=tmp_path)
        assert line == f"histoscope: --out {out}: in the store; leave --out away, or give another"


def test_what_is_no_table_of_the_task_is_not_overwritten(store, file, tmp_path, said):
    (tmp_path / "dirout.parquet").mkdir()
    (tmp_path / "text.parquet").write_text("not a table")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "foreign.parquet")
    for name, words in [
        ("dirout.parquet", "a folder, where a file is needed"),
        ("text.parquet", "not a Parquet table"),
        ("foreign.parquet", "not a histoscope.labels file"),
        ("a.csv/x.parquet", "a.csv is a file"),
        ("a.csv", "a label table is a .parquet file"),
    ]:
        line = said("labels", store, file, "--out", tmp_path / name, keeps=tmp_path)
        assert line.startswith(f"histoscope: --out {tmp_path / name}: ")
        assert words in line
    out = tmp_path / "mine.parquet"
    assert run(["labels", str(store), str(file), "--out", str(out)]) == 0
    line = said("labels", store, file, "--task", "other", "--out", out, keeps=tmp_path)
    assert "labels of 'mine', not of 'other'; give another --out" in line


def test_a_table_that_is_there_is_joined_and_loses_nothing(store, ids, file, tmp_path):
    out, more = tmp_path / "mine.parquet", tmp_path / "b.csv"
    order = ("--classes", "b,a")
    assert run(["labels", str(store), str(file), *order, "--out", str(out)]) == 0
    more.write_text(f"sample,task,label\n{ids[2]},mine,a\n")
    assert run(["labels", str(store), str(more), "--out", str(out)]) == 0
    labels = LabelTable.read(out)
    task, table = labels.task, labels.rows
    assert task == Task("mine", ("b", "a"))
    assert table["sample"].to_pylist() == ids[:3]
    assert table["label"].to_pylist() == ["a", "b", "a"]
    assert labels.origin == "a.csv; b.csv"
    assert Store(store).tasks() == ["hue"]
    more.write_text(f"sample,task,label\n{ids[2]},mine,b\n")
    assert run(["labels", str(store), str(more), "--out", str(out)]) == 2
    assert LabelTable.read(out).rows.equals(table)


def test_the_stores_own_labels_join_a_table_elsewhere(store, ids, tmp_path):
    out = tmp_path / "hue.parquet"
    sample, hue = ids[0], Store(store).labels("hue").rows["label"][0].as_py()
    (tmp_path / "a.csv").write_text(f"sample,task,label\n{sample},hue,{hue}\n")
    for _ in range(2):
        assert run(["labels", str(store), str(tmp_path / "a.csv"), "--out", str(out)]) == 0
        labels = LabelTable.read(out)
        assert labels.rows["label"].equals(Store(store).labels("hue").rows["label"])
        assert labels.origin == "prepare; a.csv"


def test_the_same_labels_again_change_no_byte(store, file):
    words, path = ["labels", str(store), str(file)], store / "labels" / "mine.parquet"
    assert run(words) == 0
    first = path.read_bytes()
    assert run(words) == 0
    assert path.read_bytes() == first


def test_classes_are_a_line_of_csv(store, ids, file, tmp_path, said):
    for given, words in [
        ("a,a,b", "'a' stands twice"),
        ("a,,b", "a name is empty"),
        ("a,b,", "a name is empty"),
        ("", "a name is empty"),
        ('a,"b', "not CSV (unexpected end of data); put a name with a comma in quotation marks"),
        ('a,"b\nc"', "a name is of two lines"),
    ]:
        assert words in said("labels", store, file, "--classes", given, keeps=store)
    file.write_text(f'sample,task,label\n{ids[0]},mine,"a, or so"\n')
    assert run(["labels", str(store), str(file), "--classes", 'b, "a, or so"']) == 0
    assert Store(store).labels("mine").task.classes == ("b", "a, or so")


@pytest.mark.parametrize("text", ["sample,label\n", "sample,label\nx,\n", "sample,hook\nx,\n"])
def test_a_file_without_a_label_is_told_so(store, tmp_path, said, text):
    (tmp_path / "a.csv").write_text(text)
    line = said("labels", store, tmp_path / "a.csv", "--task", "mine", keeps=store)
    assert line == "histoscope: no label in a.csv"


def test_tables_that_break_a_rule_are_refused_in_one_line(store, ids, tmp_path, said):
    path = store / "labels" / "mine.parquet"
    told = {"task": "mine", "classes": "a\nb", "exclusive": "true"}
    told |= {"format": "histoscope.labels", "version": "1"}
    table = pa.table({"sample": [ids[0]] * 2, "label": ["a", "b"]})
    pq.write_table(table.replace_schema_metadata(told), path)
    learn = ("finetune", store, "--encoder", "colour", "--out", tmp_path / "out")
    for words in ((*learn, "--task", "mine"), (*learn, "--labels", path)):
        line = said(*words, keeps=tmp_path)
        assert f"{path}: sample {ids[0]} stands twice" in line


@pytest.mark.parametrize(
    ("labels", "words", "classes", "count"),
    [
        (("a", "NA", "b"), ["--null-values", "NA,?"], ("a", "b"), 2),
        (("a", "NA", "b"), ["--class-names", "NA=NA"], ("NA", "a", "b"), 3),
        (("a", "A", "b"), ["--class-names", "A=a"], ("a", "b"), 3),
        (("a", "A", "b"), ["--classes", "a,A,b"], ("a", "A", "b"), 3),
        (("1", "1.0", "2"), ["--class-names", "1=x,1.0=x,2=y"], ("x", "y"), 3),
    ],
)
def test_what_may_be_one_class_or_none_is_asked_about(
    store, ids, tmp_path, said, labels, words, classes, count
):
    path = tmp_path / "a.csv"
    rows = [f"{one},{label}" for one, label in zip(ids, labels, strict=False)]
    path.write_text("\n".join(["sample,label", *rows]))
    line = said("labels", store, path, "--task", "asked", keeps=store)
    assert line.startswith("histoscope: a.csv: ")
    assert "is 'NA' a class" in line or "differ in their spelling alone" in line
    assert "--class-names" in line
    out = tmp_path / "asked.parquet"
    asked = ["labels", str(store), str(path), "--task", "asked", "--out", str(out)]
    assert run([*asked, *words]) == 0
    table = LabelTable.read(out)
    assert table.task.classes == classes
    assert len(table.rows) == count


def test_pairs_that_are_none_are_refused(store, file, said):
    line = said("labels", store, file, "--class-names", "a", keeps=store)
    assert (
        line
        == "histoscope: --class-names a: expected WRITTEN=NAME,WRITTEN=NAME, as 0=normal,1=tumour"
    )


def test_columns_of_classes_are_renamed_and_their_cells_may_be_unknown(store, ids, tmp_path):
    path, out = tmp_path / "a.csv", tmp_path / "asked.parquet"
    path.write_text(f"sample,Warm,cold\n{ids[0]},1,NA\n{ids[1]},0,1\n")
    words = ["--class-names", "Warm=warm", "--null-values", "NA", "--out", str(out)]
    assert run(["labels", str(store), str(path), "--task", "asked", *words]) == 0
    table = LabelTable.read(out)
    assert table.task.classes == ("warm", "cold")
    assert table.rows.select(["warm", "cold"]).to_pylist() == [
        {"warm": True, "cold": None},
        {"warm": False, "cold": True},
    ]


def test_a_renamed_class_that_nobody_wrote_is_refused(store, file, said):
    line = said("labels", store, file, "--class-names", "A=b", keeps=store)
    assert line == (
        "histoscope: a.csv: no class A here, which --class-names speaks of (there are a, b)"
    )
