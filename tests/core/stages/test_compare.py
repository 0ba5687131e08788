"""Paired comparison of two evaluations."""

import pyarrow as pa
import pytest

from histoscope.core.data.labels import LabelTable
from histoscope.core.errors import DataError
from histoscope.core.evaluation.intervals import paired_difference
from histoscope.core.learning.spec import ProbeSpec
from histoscope.core.progress import Silent
from histoscope.core.stages.compare import compare
from histoscope.core.stages.evaluate import evaluate
from histoscope.core.stages.finetune import finetune


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


def test_the_difference_is_the_paired_t_interval_over_draws(evaluated):
    one, other = evaluated("a"), evaluated("b", "random:test_resnet")
    found = compare(one, other)["hue"]["auc"]
    import json

    per_draw = [
        json.loads((folder / "metrics.json").read_text())["tasks"]["hue"]["auc"]["per_draw"]
        for folder in (one, other)
    ]
    expected = paired_difference(*per_draw)
    assert found["difference"]["mean"] == pytest.approx(expected.mean)
    assert found["difference"]["low"] == pytest.approx(expected.low)
    assert found["difference"]["draws"] == 3
    back = compare(other, one)["hue"]["auc"]["difference"]
    assert back["mean"] == pytest.approx(-expected.mean)


def test_other_draws_other_samples_and_one_draw_are_refused(evaluated, toy_store, tmp_path):
    one = evaluated("a")
    with pytest.raises(DataError, match="learnt from other draws; give finetune the same store"):
        compare(one, evaluated("b", seed=1))
    ids = toy_store.index.column("id").to_pylist()
    split = tmp_path / "split.csv"
    split.write_text("id,split\n" + "".join(f"{name},test\n" for name in ids[-10:]))
    with pytest.raises(DataError, match=r"scored on other samples or labels \(24 and 10\)"):
        compare(one, evaluated("c", split=f"{split}:test"))
    with pytest.raises(DataError, match="all draws of hue saw the same labels"):
        compare(evaluated("d", draws=1), evaluated("e", draws=1))
    for nothing in (tmp_path / "nothing", one / "metrics.json"):
        with pytest.raises(DataError, match="no such file"):
            compare(one, nothing)


def test_draws_of_all_labels_are_one_draw(evaluated):
    """Their differences are all the same, and no interval is nothing wide."""
    with pytest.raises(DataError, match="all draws of hue saw the same labels"):
        compare(evaluated("a", fraction=1), evaluated("b", fraction=1, scaling="standard"))


def test_another_truth_of_the_same_samples_is_refused(evaluated, toy_store, tmp_path):
    hue = toy_store.labels("hue")
    classes = hue.task.classes
    flipped = [classes[1 - classes.index(n)] for n in hue.rows["label"].to_pylist()]
    file = tmp_path / "flipped.parquet"
    LabelTable.make(hue.task, hue.names, [pa.array(flipped)], "test").write(file)
    with pytest.raises(DataError, match="scored on other samples or labels"):
        compare(evaluated("a"), evaluated("b", labels=file))
