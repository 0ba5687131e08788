"""Draws of whole cases, by their number or by name, some of which lack a class."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from histoscope.core.config import build
from histoscope.core.errors import ConfigError, DataError, UsageError
from histoscope.core.evaluation.predictions import read_predictions
from histoscope.core.labelling.gather import read_label_file
from histoscope.core.learning.draws import draw_whole_cases, named_cases
from histoscope.core.learning.spec import FinetuneSpec
from histoscope.core.progress import Silent
from histoscope.core.stages.evaluate import evaluate
from histoscope.core.stages.finetune import finetune
from histoscope.core.stages.folds import cross_validate
from histoscope.core.stages.labels import import_labels
from histoscope.core.stages.subsets import read_subsets
from tests.made import prepared_by_case, truth

CASES = ("c0", "c0", "c1", "c2", "c2", "c3", "c4")
SHOWN = {"c0": "ab", "c1": "a", "c2": "abc", "c3": "bc"}  # classes by case, of those to train on


class Hearing(Silent):
    """Keeps what is said."""

    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


@pytest.fixture
def store(toy, tmp_path):
    """Four cases to train on, of which one shows all classes, and one to be scored."""
    folder = tmp_path / "sources"
    folder.mkdir()
    for seed, case in enumerate([*SHOWN, "c4"]):
        part = "test" if case == "c4" else "train"
        toy.write_stack(folder / f"{case}-{part}.npy", 12, seed)
    store = prepared_by_case(toy, folder, tmp_path / "store")
    lines, seen = ["id,label"], dict[str, int]()
    for row in store.index.to_pylist():
        shown = SHOWN.get(row["case"], "abc")
        place = seen[row["case"]] = seen.get(row["case"], -1) + 1
        lines.append(f"{row['id']},{shown[place % len(shown)]}")
    (tmp_path / "given.csv").write_text("\n".join(lines) + "\n")
    more = {"out": None, "later_wins": False, "progress": Silent()}
    table = import_labels(store, [read_label_file(tmp_path / "given.csv")], "kind", (), **more)
    table.write(store.path / "labels" / "kind.parquet")
    return store


def learn(store, out, heard=None, **how):
    spec = build(FinetuneSpec, how, "test")
    return finetune(store, "colour", spec, out, tasks=("kind",), progress=heard or Silent())


def test_each_case_begins_one_draw_and_fewer_are_a_part_of_more():
    told = truth([0, 1, 0, 1, 0, 1, 0])
    alone, before = [], [set()] * 5
    for count in range(1, 5):
        draws = [draw_whole_cases(told, CASES, count, draw, 3, "here") for draw in range(5)]
        names = [{CASES[place] for place in chosen} for chosen in draws]
        for chosen, its, fewer in zip(draws, names, before, strict=True):
            assert len(its) == count
            assert chosen.tolist() == [at for at, case in enumerate(CASES) if case in its]
            assert fewer < its
        alone, before = alone or names, names
    assert set.union(*alone) == set(CASES)
    assert len({tuple(sorted(its)) for its in before}) == 5
    others = [draw_whole_cases(told, CASES, 1, draw, 4, "here").tolist() for draw in range(5)]
    assert others != [
        draw_whole_cases(told, CASES, 1, draw, 3, "here").tolist() for draw in range(5)
    ]


def test_more_draws_than_there_are_cases_are_refused():
    told = truth([0, 1, 0, 1, 0, 1, 0])
    assert len(draw_whole_cases(told, CASES, 5, 0, 0, "here")) == 7
    for count, draw, said in [
        (6, 0, "--whole-cases 6: here, of 5 cases"),
        (5, 1, r"of 5 cases there are 1 draws of 5 \(here\); give --draws 1"),
        (1, 5, r"of 5 cases there are 5 draws of 1 \(here\); give --draws 5"),
    ]:
        with pytest.raises(DataError, match=said):
            draw_whole_cases(told, CASES, count, draw, 0, "here")
    with pytest.raises(DataError, match="--whole-cases 1: some labelled samples have no case"):
        draw_whole_cases(truth([0, 1]), ["a", None], 1, 0, 0, "here")


def test_cases_that_are_named_are_taken_or_refused():
    told = truth([0, 1, 0, 1, 0, 1, 0])
    assert named_cases(told, CASES, ("c2", "c0"), "here").tolist() == [0, 1, 3, 4]
    with pytest.raises(DataError, match="--subsets: no sample of d, e has a label of"):
        named_cases(told, CASES, ("c2", "d", "e"), "here")


def test_subsets_are_read_and_what_is_wrong_in_them_is_said(tmp_path):
    def given(text):
        (tmp_path / "s.csv").write_text(text)
        return tmp_path / "s.csv"

    assert read_subsets(given("draw,case\n2,b\n1,a\n2,a\n")) == (("b", "a"), ("a",))
    for text, said in [
        ("draw,case\n", "no draw in it"),
        ("draw,case\n1,\n", "line 2: no case"),
        ("draw,case\n1,a\n,b\n", "line 3: no draw"),
        ("draw,case\n1,a\n1,a\n", "line 3: a stands in draw 1 twice"),
    ]:
        with pytest.raises(DataError, match=said):
            read_subsets(given(text))


def test_only_one_way_of_drawing_is_taken():
    spec = build(FinetuneSpec, {"whole_cases": 2, "draws": 3}, "a")
    assert (spec.fraction, spec.draw_by) == (None, "case")
    assert build(FinetuneSpec, spec.model_dump(), "a") == spec
    named = build(FinetuneSpec, {"subsets": [["a", "b"], ["c"]]}, "a")
    assert build(FinetuneSpec, named.model_dump(), "a") == named
    for wrong, said in [
        ({"whole_cases": 1, "fraction": 0.1}, "fraction and whole_cases: give only one"),
        ({"whole_cases": 1, "subsets": "s.csv"}, "whole_cases and subsets: give only one"),
        ({"subsets": "s.csv", "draw_by": "sample"}, "with subsets cases are drawn, not samples"),
        ({"fraction": None}, "fraction: give a number, or cases_per_class, whole_cases, subsets"),
    ]:
        with pytest.raises(ConfigError, match=said):
            build(FinetuneSpec, wrong, "a")


STEPS = {"full": {"full": {"steps": 2}}, "mstcn": {"mstcn": {"steps": 100, "layers": 2}}}


@pytest.mark.parametrize("method", ["probe", "knn", "uni", "mstcn", "full", "probe_full"])
def test_a_class_that_a_draw_lacks_is_said_and_answered_least(store, tmp_path, method):
    heard, out = Hearing(), tmp_path / "p"
    how = {"method": method, "draws": 4, "whole_cases": 1, **STEPS.get(method, {})}
    encoder = "random:test_resnet" if "full" in method else "colour"
    spec = build(FinetuneSpec, how, "test")
    package = finetune(store, encoder, spec, out, tasks=("kind",), progress=heard)
    said = [line for line in heard.lines if "have no label of" in line]
    assert said == [
        f"{count} of 4 draws have no label of {name}, which they do not learn"
        for name, count in (("a", 1), ("b", 1), ("c", 2))
    ]
    (head,) = package.info.heads
    assert (head.whole_cases, head.labels) == (1, [12] * 4)
    assert "4 draws of 1 whole cases, seed 0" in (out / "MODEL_CARD.md").read_text()
    evaluate(package, store, out.with_name("e"), progress=Silent())
    scores = np.array(read_predictions(out.with_name("e"), head.asked_task, 4).scores)
    cases = [package_cases(out, store, draw) for draw in range(4)]
    assert sorted(cases) == sorted(SHOWN)
    for draw, case in enumerate(cases):
        lacking = [place for place, name in enumerate("abc") if name not in SHOWN[case]]
        assert not np.isin(scores[draw].argmax(axis=1), lacking).any()
        if method in ("probe", "knn"):
            assert not scores[draw][:, lacking].any()


def package_cases(folder, store, draw):
    """The only case of a draw."""
    case_of = dict(
        zip(*(store.index.column(name).to_pylist() for name in ("id", "case")), strict=True)
    )
    drawn = pq.read_table(folder / "draws.parquet").to_pylist()
    (case,) = {case_of[row["sample"]] for row in drawn if row["draw"] == draw}
    return case


def test_named_cases_are_drawn_kept_and_told(store, tmp_path):
    (tmp_path / "s.csv").write_text("draw,case\n0,c0\n0,c3\n1,c2\n")
    package = learn(store, tmp_path / "p", subsets=str(tmp_path / "s.csv"))
    (head,) = package.info.heads
    assert head.subsets == [["c0", "c3"], ["c2"]]
    assert head.labels == [24, 12]
    assert "2 draws of named cases (c0, c3; c2)" in (tmp_path / "p" / "MODEL_CARD.md").read_text()
    told = learn(store, tmp_path / "q", subsets=[["c0", "c3"], ["c2"]])
    assert told.info.heads[0].drawn == head.drawn
    for how, error, said in [
        ({"subsets": "none.csv"}, DataError, "--subsets: none.csv: no such file$"),
        ({"subsets": [["c0"]], "draws": 3}, UsageError, "has 1 draws; leave --draws out"),
        ({"subsets": [["c0"]], "draws": 5}, UsageError, "has 1 draws; leave --draws out"),
        ({"subsets": [["c9"]]}, DataError, "no sample of c9 has a label"),
        ({"subsets": [["c4"]]}, DataError, "no sample of c4 has a label"),  # not of train
    ]:
        with pytest.raises(error, match=said):
            learn(store, tmp_path / "r", **how)
    spec = build(FinetuneSpec, {"subsets": [["c0"]]}, "test")
    with pytest.raises(UsageError, match="--subsets: names cases, of which folds hold some out"):
        cross_validate(store, "colour", spec, 2, tmp_path / "r", tasks=("kind",), progress=Silent())
