"""Suggestions of a store, and labels given by hand taken into it."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from histoscope.core.contracts import Task
from histoscope.core.data.labels import LABELS, LabelTable
from histoscope.core.data.store import Store
from histoscope.core.errors import DataError, UsageError
from histoscope.core.files import write_table
from histoscope.core.heads.contract import Bags
from histoscope.core.heads.linear import LinearHead
from histoscope.core.inference.runner import Runner
from histoscope.core.labelling.gather import LabelFile, gather, read_label_file
from histoscope.core.labelling.task import asked_task, labelled_ids
from histoscope.core.progress import Silent
from histoscope.core.runtime.device import AUTO
from histoscope.core.stages.encoders import open_encoder
from histoscope.core.stages.labels import import_labels
from histoscope.core.stages.suggest import suggest, uncertainty

TASK = Task("grade", ("low", "high"))
SEVERAL = Task("tools", ("hook", "clip"), exclusive=False)
IDS = ["s:1", "s:2", "s:3"]


class Told(Silent):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def merged(folder, *texts, task=TASK, later_wins=False, told=None):
    files = [read_label_file(write(folder / f"{n}.csv", text)) for n, text in enumerate(texts)]
    progress = told or Silent()
    table = gather(files, task, IDS, "STORE", later_wins=later_wins, progress=progress)
    return {row.pop("sample"): row for row in table.rows.to_pylist()}


def suggestions(store, count=5, **more):
    task = more.pop("task", TASK)
    labelled = more.pop("labelled", labelled_ids(store, task))
    runner = Runner.of(open_encoder("colour", store, 0), AUTO)
    more = {"progress": Silent(), **more}
    return suggest(store, runner, task, labelled, count, **more)


def test_only_plain_samples_of_the_train_part_are_suggested(toy_store):
    found = suggestions(toy_store, 99)
    rows = toy_store.index.take(found.rows).to_pylist()
    assert {row["split"] for row in rows} == {"train"}
    assert {row["mark"] for row in rows} == {None}
    assert {row["status"] for row in rows} == {"ok"}
    assert found.table.column_names == [
        *("rank", "id", "source", "case", "place", "uncertainty", "why")
    ]
    assert found.table["rank"].to_pylist() == list(range(1, len(rows) + 1))


def test_both_colours_come_first(toy_store):
    place = suggestions(toy_store, 2).table["place"].to_pylist()
    assert {one % 2 for one in place} == {0, 1}


def test_labelled_samples_are_not_suggested(toy_store):
    ids = frozenset(suggestions(toy_store, 3).table["id"].to_pylist())
    again = suggestions(toy_store, 99, labelled=ids)
    assert not ids & set(again.table["id"].to_pylist())
    assert again.labelled == 3


def test_a_store_that_is_labelled_throughout_is_refused(toy_store):
    hue = toy_store.labels("hue").task
    with pytest.raises(DataError, match="has a label of 'hue' already"):
        suggestions(toy_store, task=hue)


def test_turns_are_told(toy_store):
    told = Told()
    suggestions(toy_store, progress=told)
    assert "cases are unknown: every sample stands for itself" in told.lines[0]
    suggestions(toy_store, 10_000, progress=told)
    assert any("are left that are neither labelled" in line for line in told.lines)


def test_a_model_says_what_it_doubts(toy_store):
    head = LinearHead(np.zeros((2, 18), np.float32), np.array([0, 1], np.float32))
    found = suggestions(toy_store, head=head)
    margin = 1 - (np.e - 1) / (np.e + 1)
    assert found.table["uncertainty"].to_pylist() == pytest.approx([margin] * 5, abs=1e-6)


def test_uncertainty_of_classes_that_hold_together_is_that_of_the_nearest_to_its_threshold():
    logits = np.array([0.0, -100.0], np.float32)
    cut = np.array([0.5, 0.25], np.float32)
    head = LinearHead(np.zeros((2, 3), np.float32), logits, exclusive=False, thresholds=cut)
    assert uncertainty(head, Bags.of_samples(np.zeros((1, 3), np.float32))) == pytest.approx([1.0])
    sure = LinearHead(np.zeros((2, 3), np.float32), logits[[1, 1]], False, cut)
    assert uncertainty(sure, Bags.of_samples(np.zeros((1, 3), np.float32))) == pytest.approx(
        [0.0], abs=1e-6
    )


def test_what_is_written_says_what_was_read(toy_store, tmp_path):
    found = suggestions(toy_store)
    found.write(tmp_path / "out")
    table = pyarrow.csv.read_csv(tmp_path / "out" / "suggested.csv")
    assert table["id"].to_pylist() == found.table["id"].to_pylist()
    body = json.loads((tmp_path / "out" / "suggest.json").read_text())
    assert body["classes"] == ["low", "high"]
    assert body["suggested"] == 5


def test_a_task_needs_a_name_and_classes_unless_they_are_known(toy_store):
    assert asked_task(toy_store, None, (), False).classes == ("blue", "green")
    assert asked_task(toy_store, "grade", ("low", "high"), False) == TASK
    assert asked_task(toy_store, "tools", ("hook", "clip"), True) == SEVERAL
    assert asked_task(toy_store, None, (), False, [SEVERAL]) == SEVERAL
    assert asked_task(toy_store, "hue", ("blue", "green", "red"), False).classes[2] == "red"
    for name, classes, several, words in [
        ("grade", (), False, "give --classes"),
        ("a b", ("x",), False, "letters, digits"),
        ("hue", ("blue",), False, "lacks green"),
        ("hue", (), True, "exactly one class"),
    ]:
        with pytest.raises(UsageError, match=words):
            asked_task(toy_store, name, classes, several)
    with pytest.raises(UsageError, match="give --task NAME"):
        asked_task(toy_store, None, ("x",), False, [TASK, SEVERAL])


def test_a_task_of_which_no_label_is_known_needs_classes(toy_store):
    none = LabelTable.make(Task("grade", ()), ["a"], [[None]], "test")
    none.write(toy_store.path / "labels" / "grade.parquet")
    assert asked_task(toy_store, "grade", ("low", "high"), False) == TASK
    with pytest.raises(UsageError, match="knows no class of it; give --classes"):
        asked_task(toy_store, "grade", (), False)


def test_a_sample_counts_as_labelled_if_anything_is_known_of_it(toy_store):
    samples, nothing = ["a", "b"], [None, None]
    table = LabelTable.make(SEVERAL, samples, [[None, True], nothing], "test")
    table.write(toy_store.path / "labels" / "tools.parquet")
    assert labelled_ids(toy_store, SEVERAL) == {"b"}
    assert labelled_ids(toy_store, TASK) == frozenset()


def test_hands_are_joined_in_the_order_of_the_index(tmp_path):
    found = merged(tmp_path, "sample,task,label\ns:3,grade,high\n", "\ufeffid;label\ns:1;low\n")
    assert found == {"s:1": {"label": "low"}, "s:3": {"label": "high"}}


def test_classes_that_hold_together_are_joined_class_by_class(tmp_path):
    one, other = "sample,hook,clip\ns:1,true,\n", "sample,clip\ns:1,0\ns:2,yes\n"
    found = merged(tmp_path, one, other, task=SEVERAL)
    assert found == {"s:1": {"hook": True, "clip": False}, "s:2": {"hook": None, "clip": True}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("label\nlow\n", "no column sample"),
        ("sample,task\ns:1,grade\n", "neither a column label"),
        ("sample,label\ns:9,low\n", r"1 samples are not in STORE \(first: s:9\)"),
        ("sample,label\ns:1,lo\n", "'lo' is no class of 'grade'.*did you mean 'low'"),
        ("sample,label\ns:1,low\ns:1,high\n", "line 3: s:1 stands twice, as low and as high"),
        ("sample,task,label\ns:1,stage,low\n", "labels of 'stage', not of 'grade'"),
        ("sample,task,label\ns:1,a,low\ns:2,b,low\n", "several tasks"),
        ("sample,hook\ns:1,true\n", "several classes a sample, but 'grade'"),
        ("sample,hook\ns:1,perhaps\n", "line 2: 'perhaps' where true"),
        ("sample,label\n", "no label of 'grade'"),
        ("", "0.csv: empty"),
        ("sample,Label,label\n", "a column's name stands twice"),
        (
            "sample,label\ns:1,low\ns:2,low, but\n",
            "0.csv, line 3: 3 cells under 2 names.*quotation",
        ),
        ("sample;label\ns:1;low;but\n", "line 2: 3 cells under 2 names.*holds ';'"),
        ("sample,label\n\n,low\n", "0.csv, line 3: 'low' of no sample; fill in sample"),
        ("id,hook\ns:1,true\n,false\n", "0.csv, line 3: 'false' of no sample; fill in id"),
        ("id,sample,label\ns:1,s:2,low\n", "0.csv: id and sample are two columns"),
        ('sample,label\ns:1,low\ns:2,"low\n', "0.csv, line 3: not CSV.*left open"),
        ('sample,label\ns:1,"low\ns:2,"low"\n', "0.csv, line 2: not CSV.*left open"),
        ('sample,label\ns:1,"' + "s:2,low\n" * 20_000, "0.csv, line 2: not CSV.*left open"),
    ],
    ids=lambda text: text[:24],
)
def test_what_cannot_be_meant_is_refused_in_one_line(tmp_path, text, words):
    with pytest.raises(DataError, match=words) as fault:
        merged(tmp_path, text)
    assert "\n" not in str(fault.value)


def test_empty_cells_beyond_the_last_column_are_ignored(tmp_path):
    text = "sample,label,,\ns:1,low,,\ns:2,high\n,,,\n"
    assert merged(tmp_path, text) == {"s:1": {"label": "low"}, "s:2": {"label": "high"}}
    text = 'sample,hook,clip,,\n"s:1",true,,,,\n'
    assert merged(tmp_path, text, task=SEVERAL) == {"s:1": {"hook": True, "clip": None}}


def test_a_cell_with_a_comma_stands_in_quotation_marks(tmp_path):
    task = Task("grade", ("low, or so", "high"))
    text = 'sample,label\ns:1,"low, or so"\n'
    assert merged(tmp_path, text, task=task) == {"s:1": {"label": "low, or so"}}


def test_each_file_is_named_once_as_origin(tmp_path):
    file = read_label_file(write(tmp_path / "a.csv", "sample,label\ns:1,low\n"))
    told = LabelFile("the store", "grade", "sample", True, TASK.classes, {}, "prepare; a.csv")
    table = gather([told, file, file], TASK, IDS, "STORE", later_wins=False, progress=Silent())
    assert table.origin == "prepare; a.csv"


def test_other_kinds_of_files_are_refused(tmp_path):
    (tmp_path / "latin.csv").write_bytes("sample,label\ns:1,gr\xfcn\n".encode("latin-1"))
    for name, words in [("latin.csv", "UTF-8"), ("none.csv", "No such file")]:
        with pytest.raises(DataError, match=words):
            read_label_file(tmp_path / name)


def test_contradictions_are_listed_and_the_later_wins_only_if_told(tmp_path):
    texts = "sample,label\ns:1,low\ns:2,low\n", "sample,label\ns:1,high\ns:2,low\n"
    told = Told()
    with pytest.raises(DataError, match="1 labels contradict each other"):
        merged(tmp_path, *texts, told=told)
    assert told.lines == ["contradiction: s:1: low (0.csv), high (1.csv)"]
    found = merged(tmp_path, *texts, later_wins=True, told=told)
    assert found == {"s:1": {"label": "high"}, "s:2": {"label": "low"}}
    assert len(told.lines) == 2


@pytest.mark.parametrize(
    ("columns", "more", "words"),
    [
        ({"sample": ["a", "b", "a"], "label": ["low"] * 3}, {}, "sample a stands twice"),
        ({"sample": ["a", None], "label": ["low"] * 2}, {}, "row 2 names no sample"),
        (
            {"sample": ["a", "b", "c"], "label": [None, "low", "lo"]},
            {},
            r"'lo' of sample c is no class of 'grade' \(low, high\)",
        ),
        ({"sample": ["a"], "label": ["low"]}, {"classes": ""}, "'low' of sample a is no class"),
        ({"sample": ["a"], "label": ["a"]}, {"classes": "a\nb\na"}, "class 'a' stands twice"),
        ({"sample": ["a"], "label": ["a"]}, {"classes": "a\n\nb"}, "may be called ''"),
        ({"id": ["a"], "label": ["low"]}, {}, "columns sample, label, not id, label"),
        ({"sample": ["a"]}, {}, "columns sample, label, not sample"),
        (
            {"sample": ["a"], "low": [True]},
            {"exclusive": "false"},
            "columns sample, low, high, not",
        ),
        ({"sample": [1], "label": ["low"]}, {}, "column 'sample' is int64, not string"),
        ({"sample": ["a"], "label": [1]}, {}, "column 'label' is int64, not string"),
        (
            {"sample": ["a"], "low": [1], "high": [True]},
            {"exclusive": "false"},
            "column 'low' is int64, not bool",
        ),
    ],
)
def test_a_label_table_that_breaks_a_rule_is_refused_in_one_line(tmp_path, columns, more, words):
    told = {"task": "grade", "classes": "low\nhigh", "exclusive": "true", **more}
    path = tmp_path / "x.parquet"
    write_table(path, *LABELS, pa.table(columns).replace_schema_metadata(told))
    with pytest.raises(DataError, match=words) as fault:
        LabelTable.read(path)
    assert str(fault.value).startswith(f"{path}: ")
    assert "\n" not in str(fault.value)


def test_a_label_table_of_nothing_known_is_read(tmp_path):
    for number, (task, values) in enumerate(
        [(TASK, [[None]]), (Task("grade", ()), [[None]]), (SEVERAL, [[None], [None]])]
    ):
        path = tmp_path / f"{number}.parquet"
        LabelTable.make(task, ["a"], values, "test").write(path)
        assert LabelTable.read(path).task == task


def test_labels_come_into_a_store_and_join_those_that_came_before(toy_store, tmp_path):
    ids = toy_store.index["id"].to_pylist()
    path = toy_store.path / "labels" / "grade.parquet"
    for number, (place, value) in enumerate([(5, "low"), (2, "high")]):
        text = f"sample,task,label\n{ids[place]},grade,{value}\n"
        file = read_label_file(write(tmp_path / f"{number}.csv", text))
        classes = TASK.classes if number == 0 else ()
        table = import_labels(
            toy_store,
            [file],
            None,
            classes,
            out=None,
            later_wins=False,
            progress=Silent(),
        )
        table.write(path)
    assert table.task == TASK
    found = Store(toy_store.path).labels("grade").rows
    assert found["sample"].to_pylist() == [ids[2], ids[5]]
    assert found["label"].to_pylist() == ["high", "low"]
    again = read_label_file(path)
    assert (again.task, again.classes) == ("grade", ("low", "high"))
    assert LabelTable.read(path).task == TASK


def test_what_prepare_would_write_anew_is_not_touched(toy_store, tmp_path):
    sample = toy_store.index["id"][0].as_py()
    file = read_label_file(write(tmp_path / "a.csv", f"sample,label\n{sample},blue\n"))

    def taken(name, out):
        more = {"later_wins": True, "progress": Silent()}
        return import_labels(toy_store, [file], name, (), out=out, **more)

    with pytest.raises(UsageError, match="prepare writes its labels of 'hue' anew"):
        taken("hue", None)
    assert len(taken("hue", tmp_path / "a.parquet").rows) == len(toy_store.index)
    with pytest.raises(UsageError, match="give --task NAME"):
        taken(None, None)
