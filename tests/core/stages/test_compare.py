"""Paired comparison of two evaluations."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import balanced_accuracy_score

from histoscope.core.contracts import Task
from histoscope.core.data.labels import LabelTable
from histoscope.core.errors import DataError
from histoscope.core.evaluation.comparison import Cases
from histoscope.core.evaluation.intervals import over_draws
from histoscope.core.evaluation.measure import measure, overall
from histoscope.core.evaluation.predictions import read_predictions, write_predictions
from histoscope.core.files import read_json, write_json
from histoscope.core.learning.spec import ProbeSpec
from histoscope.core.progress import Silent
from histoscope.core.stages.compare import COMPARISON, compare, write_comparison
from histoscope.core.stages.evaluate import METRICS, evaluate
from histoscope.core.stages.finetune import finetune
from histoscope.core.tables.spreadsheet import read_sheet
from tests.made import examples


@pytest.fixture
def evaluated(toy_store, tmp_path):
    """Fine-tune and evaluate; the folder of the evaluation."""

    def act(name, encoder="colour", split=None, labels=None, tasks=(), **more):
        spec = ProbeSpec(**{"fraction": 0.2, "draws": 3, **more})
        package = finetune(
            toy_store, encoder, spec, tmp_path / name, tasks=tasks, progress=Silent()
        )
        out = tmp_path / f"{name}-evaluation"
        evaluate(package, toy_store, out, split=split, labels=labels, progress=Silent())
        return out

    return act


def made_evaluation(folder, skill, cases=12, draws=3):
    """Scores of so much skill, which differs from case to case, as evaluate writes them."""
    rng = np.random.default_rng(round(100 * skill) % 1000)
    truth = np.arange(cases * 10) % 2
    test = examples(truth, [f"case:{place // 10}" for place in range(len(truth))])
    of_case = np.repeat(skill * np.linspace(0, 2, cases), 10)
    given = []
    for _ in range(draws):
        surer = of_case * (2 * truth - 1) + rng.normal(size=len(truth))
        second = 1 / (1 + np.exp(-surer))
        given.append(np.stack([1 - second, second], axis=1).astype(np.float32))
    about = {"exclusive": True, "classes": ["a", "b"], "samples": len(truth), "draws": draws}
    about |= {"interval_over": "cases", "units": cases, "tested": "t", "drawn": list("xyz")[:draws]}
    body = {"model": "m", "tasks": {"made": {**about, **measure(test, given, [])}}}
    write_json(folder / "metrics.json", *METRICS, body)
    write_predictions(folder, test, given)
    return folder


def bodies_of(*folders):
    """What metrics.json says of the made task."""
    return [json.loads((one / "metrics.json").read_text())["tasks"]["made"] for one in folders]


def test_the_difference_speaks_of_cases_and_draws(tmp_path):
    one, other = made_evaluation(tmp_path / "a", 1.5), made_evaluation(tmp_path / "b", 0.5)
    (found,) = compare([(one, other)])
    assert (found.one, found.other, found.task, found.metric) == (
        *("a", "b", "made"),
        "balanced_accuracy",
    )
    alone = over_draws(*(body["balanced_accuracy"]["per_draw"] for body in bodies_of(one, other)))
    assert found.draws_alone.low == pytest.approx(alone.low)
    gap = found.gap
    assert (gap.units, gap.draws, found.over) == (12, 3, "cases")
    assert gap.mean == pytest.approx(alone.mean)
    assert gap.low < alone.mean < gap.high
    assert set(found.beside) == {"accuracy", "auc"}
    (back,) = compare([(other, one)])
    ends = [back.gap.mean, back.gap.low, back.gap.high]
    assert ends == pytest.approx([-alone.mean, -gap.high, -gap.low])
    assert back.gap.p == pytest.approx(gap.p)
    (same,) = compare([(one, one)], margin=0.01)
    assert same.gap.mean == 0
    assert np.isnan([same.gap.low, same.gap.high, same.gap.p]).all()
    assert same.verdict == "not told apart"  # nothing differs anywhere: nothing is known of others
    (near,) = compare([(one, other)], margin=0.9)
    assert near.verdict == "no larger difference"


def test_other_cases_of_the_same_samples_are_refused(tmp_path):
    one, other = (made_evaluation(tmp_path / name, 1.0) for name in "ab")
    file = other / "scored-made.parquet"
    table = pq.read_table(file)
    place = table.column_names.index("unit")
    moved = pa.array([f"case:{name}" for name in table["id"].to_pylist()])
    pq.write_table(table.set_column(place, "unit", moved), file)
    with pytest.raises(DataError, match="the same samples of other cases; evaluate both on the"):
        compare([(one, other)])


def test_the_primary_is_judged_by_itself_and_the_rest_for_their_number(tmp_path):
    skills = {"a": 1.2, "b": 0.6, "c": 0.65, "d": -0.4}
    made = {name: made_evaluation(tmp_path / name, skill) for name, skill in skills.items()}
    pairs = [(made["a"], made["b"]), (made["b"], made["c"]), (made["d"], made["b"])]
    primary, *rest = compare(pairs)
    assert (primary.corrected, primary.verdict) == (None, "better")
    small, large = sorted(rest, key=lambda one: one.p)
    assert small.corrected == pytest.approx(2 * small.p)
    assert large.corrected == pytest.approx(max(large.p, small.corrected))
    assert [one.verdict for one in rest] == ["not told apart", "worse"]
    by_itself = compare([pairs[1]])[0]
    assert by_itself.gap == rest[0].gap


def test_each_case_says_its_own_difference(tmp_path):
    """Balanced accuracy of each case, by loops; and the difference of all but it."""
    one, other = made_evaluation(tmp_path / "a", 1.5), made_evaluation(tmp_path / "b", 0.5)
    (found,) = compare([(one, other)])
    task = Task("made", ("a", "b"), True)
    sides = [read_predictions(folder, task, 3) for folder in (one, other)]
    names = np.array(sides[0].units.names)[sides[0].units.place]
    for place, name in enumerate(found.cases.names):
        own, gaps = [], []
        for side in sides:
            scored = [scores.argmax(axis=1) for scores in side.scores]
            held = names == name
            truth = side.truth.values
            own.append(np.mean([balanced_accuracy_score(truth[held], p[held]) for p in scored]))
            gaps.append(np.mean([balanced_accuracy_score(truth[~held], p[~held]) for p in scored]))
        assert (found.cases.one[place], found.cases.other[place]) == pytest.approx(own)
        assert found.cases.without[place] == pytest.approx(gaps[0] - gaps[1])
    assert found.cases.samples.tolist() == [10] * 12
    left = np.sign(found.gap.mean) * found.cases.without
    assert found.cases.heaviest(found.gap.mean) == int(left.argmin())


def test_the_heaviest_case_is_the_one_that_turns_the_difference_or_has_a_class_alone():
    nothing = np.zeros(3)
    cases = Cases(("a", "b", "c"), np.ones(3, int), nothing, nothing, np.array([-0.08, 0.01, 0.03]))
    assert cases.heaviest(0.03) == 0
    assert cases.heaviest(-0.03) == 2
    assert replace(cases, without=np.array([0.01, 0.02, np.nan])).heaviest(0.03) == 2
    assert replace(cases, without=np.full(3, np.nan)).heaviest(0.03) is None


def test_what_was_compared_is_written(tmp_path):
    pairs = [
        (made_evaluation(tmp_path / "x" / "evaluation", 1.5), tmp_path / "y" / "evaluation"),
    ]
    made_evaluation(pairs[0][1], 0.5)
    found = compare(pairs, margin=0.05)
    write_comparison(tmp_path / "out", found, 0.05)
    body = read_json(tmp_path / "out" / "comparison.json", *COMPARISON)
    (told,) = body["comparisons"]
    assert (told["one"], told["other"]) == ("x/evaluation", "y/evaluation")
    assert told["interval"] == [found[0].gap.low, found[0].gap.high]
    assert told["verdict"] == found[0].verdict
    table = read_sheet(tmp_path / "out" / "cases.csv")
    assert len(table.rows) == 12
    assert (tmp_path / "out" / "difference-0.png").read_bytes().startswith(b"\x89PNG")
    assert str(tmp_path) not in (tmp_path / "out" / "comparison.json").read_text()


def test_an_evaluation_without_its_scores_is_to_be_made_again(evaluated):
    one, other = evaluated("a"), evaluated("b")
    (other / "scored-hue.parquet").unlink()
    with pytest.raises(DataError, match=r"scored-hue.parquet: no such file; .*evaluate again"):
        compare([(one, other)])


def test_what_is_scored_is_kept_with_what_each_draw_said(evaluated):
    folder = evaluated("a")
    body = json.loads((folder / "metrics.json").read_text())["tasks"]["hue"]
    task = Task("hue", tuple(body["classes"]), True)
    found = read_predictions(folder, task, 3)
    assert len(found.names) == body["samples"]
    assert len(found.units) == body["units"]
    ones = np.ones((1, len(found.units)))
    for name, metric in overall(found.truth, found.scores, found.units).items():
        values = [metric(draw, ones)[0] for draw in range(3)]
        assert values == pytest.approx(body[name]["per_draw"])


def test_other_draws_and_other_samples_are_refused(evaluated, toy_store, tmp_path):
    one = evaluated("a")
    with pytest.raises(DataError, match="learnt from other draws; give finetune the same store"):
        compare([(one, evaluated("b", seed=1))])
    ids = toy_store.index.column("id").to_pylist()
    split = tmp_path / "split.csv"
    split.write_text("id,split\n" + "".join(f"{name},test\n" for name in ids[-10:]))
    with pytest.raises(DataError, match=r"scored on other samples or labels \(24 and 10\)"):
        compare([(one, evaluated("c", split=f"{split}:test"))])
    for nothing in (tmp_path / "nothing", one / "metrics.json"):
        with pytest.raises(DataError, match="no such file"):
            compare([(one, nothing)])


@pytest.mark.parametrize("same", [{"draws": 1}, {"fraction": 1}], ids=["one draw", "all labels"])
def test_with_one_draw_cases_alone_are_resampled(evaluated, same):
    """Draws of all labels are one draw."""
    pair = (evaluated("a", **same), evaluated("b", scaling="standard", **same))
    (found,) = compare([pair])
    assert found.gap.draws == 1
    assert found.draws_alone is None


def test_another_truth_of_the_same_samples_is_refused(evaluated, toy_store, tmp_path):
    hue = toy_store.labels("hue")
    classes = hue.task.classes
    flipped = [classes[1 - classes.index(n)] for n in hue.rows["label"].to_pylist()]
    file = tmp_path / "flipped.parquet"
    LabelTable.make(hue.task, hue.names, [pa.array(flipped)], "test").write(file)
    with pytest.raises(DataError, match="scored on other samples or labels"):
        compare([(evaluated("a"), evaluated("b", labels=file))])
