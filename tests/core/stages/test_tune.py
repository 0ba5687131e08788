"""Recipes are tried, halved and named by the valid part; what is done is not done again."""

import json

import pytest

from histoscope.core.config import build, load_yaml
from histoscope.core.errors import DataError, UsageError
from histoscope.core.learning.spec import ProbeSpec
from histoscope.core.progress import Silent
from histoscope.core.stages import tune as stage
from histoscope.core.stages.tune import Asked, check_parts, said, tune
from histoscope.core.stages.tune_price import price
from histoscope.core.tables.spreadsheet import read_sheet
from histoscope.core.training.arms import TuneSpec
from histoscope.core.training.spec import PretrainSpec

LEARN = ProbeSpec(fraction=0.5, draws=2)
ASKED = Asked("hue", LEARN)


def recipe(rate=0.001, **more):
    training = {"batch_size": 8, "workers": 0, "threads": 1, "device": "cpu"}
    body = {"encoder": "test_resnet", "training": training | {"optimiser": {"learning_rate": rate}}}
    return build(PretrainSpec, body | more, "test")


@pytest.fixture
def ways():
    return {
        "colour": "colour",
        "slow": recipe(0.0001),
        "usual": recipe(),
        "fast": recipe(0.01),
    }


class Heard(Silent):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


def run(store, toy, ways, out, *, rounds=2, steps=2, asked=ASKED):
    heard = Heard()
    return tune(store, toy.DOMAIN, ways, steps, rounds, asked, out, progress=heard), heard.lines


def test_the_better_half_goes_on_and_the_best_on_valid_wins(toy_store, toy, ways, tmp_path):
    found, lines = run(toy_store, toy, ways, tmp_path / "out")
    first, last = found.rounds
    assert [len(first), len(last)] == [3, 2]
    assert {one.name for one in last} == {one.name for one in first[:2]}
    assert {one.steps for one in first} == {2}
    assert {one.steps for one in last} == {4}
    for tried in (first, last):
        assert [one.score for one in tried] == sorted((one.score for one in tried), reverse=True)
    assert found.best is last[0]
    assert "round 2: 2 recipes of 4 steps" in "\n".join(lines)
    for one in (*first, *last, *found.others):
        body = json.loads((one.folder / "valid" / "metrics.json").read_text())["tasks"]["hue"]
        assert body["balanced_accuracy"]["value"] == one.score
        assert body["read"].startswith("the valid split")
    rows = [row for _, row in read_sheet(tmp_path / "out" / "arms.csv").rows]
    assert len(rows) == 6
    assert {row["round"] for row in rows if row["arm"] == "colour"} == {"0"}
    kept = build(PretrainSpec, load_yaml(tmp_path / "out" / "recipe.yaml"), "test")
    asked = ways[found.best.name].model_dump()
    asked["training"]["steps"] = 4
    assert kept.model_dump() == asked
    assert (tmp_path / "out" / "recipe.yaml").read_text().startswith(f"# {said(found, ways)[0]}\n")


def test_the_test_part_is_never_read(toy_store, toy, ways, tmp_path, monkeypatch):
    read = []
    for name in ("pretrain", "finetune", "evaluate"):
        whole = getattr(stage, name)

        def noting(*given, _whole=whole, **more):
            read.append(more["split"])
            return _whole(*given, **more)

        monkeypatch.setattr(stage, name, noting)
    run(toy_store, toy, ways, tmp_path / "out")
    assert set(read) == {"train", "valid"}


def test_what_was_stopped_goes_on_and_gives_the_same(toy_store, toy, ways, tmp_path, monkeypatch):
    whole, _ = run(toy_store, toy, ways, tmp_path / "whole")
    calls = []
    real = stage.pretrain

    def stopping(store, domain, spec, out, **more):
        calls.append(out)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(store, domain, spec, out, **more)

    monkeypatch.setattr(stage, "pretrain", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(toy_store, toy, ways, tmp_path / "out")
    again, _ = run(toy_store, toy, ways, tmp_path / "out")
    assert len(set(calls)) == len(calls) - 1  # what was stopped, and nothing else, twice
    done = len(calls)
    third, _ = run(toy_store, toy, ways, tmp_path / "out")
    assert len(calls) == done
    for found in (again, third):
        for ours, theirs in zip(found.rounds, whole.rounds, strict=True):
            assert [(a.name, a.score) for a in ours] == [(b.name, b.score) for b in theirs]
    for name in ("arms.csv", "recipe.yaml"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_another_question_wants_another_folder(toy_store, toy, ways, tmp_path):
    run(toy_store, toy, ways, tmp_path / "out", rounds=1)
    few = Asked("hue", ProbeSpec(fraction=0.25, draws=2))
    with pytest.raises(UsageError, match=r"made with other settings \(learn.fraction"):
        run(toy_store, toy, ways, tmp_path / "out", rounds=1, asked=few)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"not empty, and holds no tune\.json"):
        run(toy_store, toy, ways, tmp_path / "other")


def test_what_diverges_is_last_and_ends_nothing(toy_store, toy, ways, tmp_path):
    ways["wild"] = recipe(1e30)
    found, lines = run(toy_store, toy, ways, tmp_path / "out", steps=4)
    assert found.rounds[0][-1].name == "wild"
    assert any(line.startswith("arm wild: ") for line in lines)
    rows = [row for _, row in read_sheet(tmp_path / "out" / "arms.csv").rows]
    (row,) = [row for row in rows if row["arm"] == "wild"]
    assert row["valid"] == ""
    with pytest.raises(DataError, match="no recipe of the last round could be learnt"):
        run(toy_store, toy, {"wild": recipe(1e30), "colour": "colour"}, tmp_path / "no", steps=4)


def test_it_says_when_pretraining_gained_nothing(toy_store, toy, ways, tmp_path):
    ways["tones"] = ways.pop("colour")
    found, _ = run(toy_store, toy, ways, tmp_path / "out", rounds=1)
    other, best = found.others[0], found.best
    lines = "\n".join(said(found, ways))
    assert f"{other.score:.3f}" in lines
    assert (found.chosen is best) == (best.score > other.score)
    assert ("take --encoder colour" in lines) == (best.score <= other.score)
    assert found.gap.gap.mean == pytest.approx(best.score - other.score)


def test_what_it_costs_is_told_and_a_recipe_that_cannot_be_learnt_named(toy_store, toy, ways):
    seconds, each = price(toy_store, toy.DOMAIN, ways, 10, 2, ASKED)
    assert set(each) == {"slow", "usual", "fast"}
    dear = sorted(each.values(), reverse=True)
    assert seconds == pytest.approx(10 * sum(dear) + 20 * sum(dear[:2]))
    ways["large"] = recipe(training={"batch_size": 4096, "device": "cpu"})
    with pytest.raises((UsageError, DataError), match="arm large: "):
        price(toy_store, toy.DOMAIN, ways, 10, 2, ASKED)


def test_both_parts_must_be_there(toy_store):
    check_parts(toy_store, ASKED)
    with pytest.raises(DataError, match="no such file"):
        check_parts(toy_store, Asked("hue", LEARN, "gone.csv"))
    with pytest.raises(DataError, match="no task 'hues'; give --task with one of: hue"):
        check_parts(toy_store, Asked("hues", LEARN))


@pytest.mark.parametrize(
    ("arms", "fault"),
    [
        ({"a": {"start": "colour"}, "b": {"start": "random:x"}}, "none is learnt"),
        ({"a": {"start": "colour", "preset": "simclr"}}, "start is taken as it is"),
        ({"a b": {"preset": "simclr"}}, "'a b': letters, digits"),
    ],
)
def test_arms_that_cannot_be(arms, fault):
    with pytest.raises(Exception, match=fault):
        build(TuneSpec, {"arms": arms}, "test")


def test_an_arm_that_is_null_is_left_out():
    arms = {"one": {"preset": "simclr"}, "two": None, "three": {"start": "colour"}}
    assert list(TuneSpec.model_validate({"arms": arms}).arms) == ["one", "three"]
