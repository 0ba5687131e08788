"""Paired comparison of two evaluations."""

import pytest

from histoscope.core.errors import DataError
from histoscope.core.evaluation.compare import compare
from histoscope.core.evaluation.evaluate import evaluate
from histoscope.core.evaluation.intervals import paired_difference
from histoscope.core.labels.finetune import finetune
from histoscope.core.labels.spec import FinetuneSpec
from histoscope.core.progress import Silent


@pytest.fixture
def evaluated(toy_store, tmp_path):
    """Fine-tune and evaluate; the folder of the evaluation."""

    def act(name, encoder="colour", split=None, **more):
        spec = FinetuneSpec(**{"fraction": 0.2, "draws": 3, **more})
        package = finetune(toy_store, encoder, spec, tmp_path / name, progress=Silent())
        out = tmp_path / f"{name}-evaluation"
        evaluate(package, toy_store, out, split=split, progress=Silent())
        return out

    return act


def test_the_difference_is_the_paired_t_interval_over_draws(evaluated):
    one, other = evaluated("a"), evaluated("b", "random:resnet10t")
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
    with pytest.raises(DataError, match=r"scored on other samples \(24 and 10\)"):
        compare(one, evaluated("c", split=f"{split}:test"))
    with pytest.raises(DataError, match="a paired interval needs two"):
        compare(evaluated("d", draws=1), evaluated("e", draws=1))
    with pytest.raises(DataError, match="no such file"):
        compare(one, tmp_path / "nothing")
