"""A way of learning is scored on cases that none of its heads has seen."""

import json

import numpy as np
import pyarrow as pa
import pytest

from histoscope.core.contracts import Task
from histoscope.core.data.labels import LabelTable
from histoscope.core.data.store import Store
from histoscope.core.errors import DataError, UsageError
from histoscope.core.evaluation.predictions import read_predictions
from histoscope.core.learning.spec import ProbeFullSpec, ProbeSpec
from histoscope.core.progress import Silent
from histoscope.core.stages import folds as stage
from histoscope.core.stages.compare import compare
from histoscope.core.stages.evaluate import evaluate
from histoscope.core.stages.finetune import finetune
from histoscope.core.stages.folds import cross_validate, deal
from histoscope.core.stages.prepare import prepare
from histoscope.core.work.local import Local
from tests.made import examples

CASES = 8


@pytest.fixture
def cases_store(toy, tmp_path):
    """Eight cases of two classes, of several sizes."""
    folder = tmp_path / "cases"
    folder.mkdir()
    for seed in range(CASES):
        toy.write_stack(folder / f"c{seed}-x.npy", 8 + 2 * (seed % 3), seed)
    options = toy.ToyOptions(with_cases=True)
    roots, out = {"input": folder}, tmp_path / "store-of-cases"
    prepare(
        toy.DOMAIN,
        roots,
        toy.ToySampling(),
        options,
        out,
        encoding="lossless",
        engine=Local(0),
        progress=Silent(),
    )
    return Store(out)


def scored(folder, draws=2):
    """What was said of each example, and metrics.json of the task."""
    body = json.loads((folder / "metrics.json").read_text())["tasks"]["hue"]
    return read_predictions(folder, Task("hue", tuple(body["classes"]), True), draws), body


def test_no_head_has_seen_the_case_that_it_speaks_of(cases_store, tmp_path):
    """Each case's scores are those of a package of the other folds, bit for bit."""
    spec = ProbeSpec(fraction=0.5, draws=2)
    cross_validate(cases_store, "colour", spec, 4, tmp_path / "cv", progress=Silent())
    found, body = scored(tmp_path / "cv")
    assert body["folds"] == 4
    assert (body["units"], body["interval_over"]) == (CASES, "cases")
    assert len(found.names) == len(cases_store.index) == body["samples"]
    rows = cases_store.index.select(["id", "unit"]).to_pylist()
    unit = {row["id"]: row["unit"] for row in rows}
    hue = stage.labelled(cases_store, stage.EVERY, cases_store.labels(), None)
    fold_of = deal([hue], 4, spec.seed)
    assert sorted(np.bincount([*fold_of.values()])) == [2, 2, 2, 2]
    seen = {name: place for place, name in enumerate(found.names)}
    for fold in range(4):
        split = tmp_path / f"split-{fold}.csv"
        parts = [f"{one},{'test' if fold_of[unit[one]] == fold else 'train'}\n" for one in unit]
        split.write_text("id,split\n" + "".join(parts))
        package = finetune(
            cases_store,
            "colour",
            spec,
            tmp_path / f"p{fold}",
            split=f"{split}:train",
            progress=Silent(),
        )
        out = tmp_path / f"e{fold}"
        evaluate(package, cases_store, out, split=f"{split}:test", progress=Silent())
        theirs, _ = scored(out)
        places = [seen[name] for name in theirs.names]
        for draw in range(2):
            assert (found.scores[draw][places] == theirs.scores[draw]).all()


def test_two_ways_are_compared_by_case(cases_store, tmp_path):
    for name, more in (("a", {}), ("b", {"scaling": "standard"})):
        spec = ProbeSpec(fraction=0.5, draws=2, **more)
        cross_validate(cases_store, "colour", spec, 4, tmp_path / name, progress=Silent())
    (found,) = compare([(tmp_path / "a", tmp_path / "b")])
    assert found.folds == 4
    p, least = found.flip
    assert least == 2 / 2**CASES
    assert p >= least
    assert found.p == pytest.approx(np.maximum(p, found.gap.p), nan_ok=True)
    spec = ProbeSpec(fraction=0.5, draws=2)
    cross_validate(cases_store, "colour", spec, 2, tmp_path / "c", progress=Silent())
    with pytest.raises(DataError, match=r"learnt from other draws; .* and --folds"):
        compare([(tmp_path / "a", tmp_path / "c")])


def test_weights_are_trained_anew_for_each_fold(cases_store, tmp_path):
    spec = ProbeFullSpec(fraction=0.5, draws=1, full={"steps": 1})
    body, _ = cross_validate(
        cases_store, "random:test_resnet", spec, 2, tmp_path / "cv", progress=Silent()
    )
    assert body["tasks"]["hue"]["balanced_accuracy"]["value"] > 0


def test_classes_not_told_from_chance_are_counted_over_all_folds(cases_store, tmp_path):
    names = cases_store.index.column("id")
    seen = np.random.default_rng(1).random(len(names)) < 0.5
    table = LabelTable.make(Task("coin", ("heads",), exclusive=False), names, [seen], "a test")
    table.write(tmp_path / "coin.parquet")
    spec, told = ProbeSpec(fraction=1, draws=2, strength=1.0), tmp_path / "coin.parquet"
    body, _ = cross_validate(
        cases_store, "colour", spec, 2, tmp_path / "cv", labels=told, progress=Silent()
    )
    (said,) = (one for one in body["tasks"]["coin"]["cautions"] if "from chance" in one)
    assert said.startswith("held-out scores of heads (4 of 4 heads) were not told from chance")


def test_cases_of_like_classes_are_dealt_to_different_folds():
    truth = [0, 1] * 4 + [0] * 2 + [1] * 2
    units = [f"case:{place}" for place in [0, 0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7]]
    test = examples(truth, units)
    found = deal([test], 2, 0)
    for group in (range(4), (4, 5), (6, 7)):
        assert len({found[f"case:{one}"] for one in group}) == 2
    assert deal([test], 2, 0) == found
    assert any(deal([test], 2, seed) != found for seed in range(1, 9))


@pytest.mark.parametrize("seed", range(6))
def test_rare_classes_are_dealt_first(seed):
    """Each of three classes is in two of five cases, one of them in both b's and c's."""
    truth = np.zeros((6, 3), int)
    for case, held in enumerate(("c", "b", "bc", "a", "a", "")):
        truth[case, ["abc".index(one) for one in held]] = 1
    found = deal([examples(truth, [f"case:{n}" for n in range(6)])], 2, seed)
    assert sorted(np.bincount([*found.values()])) == [3, 3]
    for held in ((3, 4), (1, 2), (0, 2)):
        assert len({found[f"case:{case}"] for case in held}) == 2


def test_a_class_of_one_fold_is_refused_with_its_cases(cases_store, tmp_path):
    ids, units = (cases_store.index.column(n).to_pylist() for n in ("id", "unit"))
    first = units[0]
    labels = ["rare" if unit == first else "abc"[n % 2] for n, unit in enumerate(units)]
    file = tmp_path / "kind.parquet"
    task = Task("kind", ("a", "b", "rare"), True)
    LabelTable.make(task, ids, [pa.array(labels)], "test").write(file)
    spec = ProbeSpec(fraction=1, draws=1)
    with pytest.raises(DataError, match=r"rare of 'kind' is in 1 cases?, all in one fold"):
        cross_validate(
            cases_store, "colour", spec, 2, tmp_path / "out", labels=file, progress=Silent()
        )
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_dealt_is_refused(cases_store, toy_store, tmp_path):
    spec = ProbeSpec(fraction=1, draws=1)
    with pytest.raises(DataError, match="--folds 9: the labels are of 8 cases only"):
        cross_validate(cases_store, "colour", spec, 9, tmp_path / "out", progress=Silent())
    with pytest.raises(DataError, match="cases of some samples are unknown; prepare with --cases"):
        cross_validate(toy_store, "colour", spec, 2, tmp_path / "out", progress=Silent())
    with pytest.raises(UsageError, match="two or more"):
        deal([], 1, 0)
    alone = examples([0, 0, 1, 1], ["case:a", "case:b", "case:c", "case:c"])
    assert set(deal([alone], 3, 0).values()) == {0, 1, 2}
    assert not (tmp_path / "out").exists()


def test_an_encoder_that_has_seen_the_cases_is_refused_or_said(cases_store, tmp_path):
    spec = ProbeSpec(fraction=0.5, draws=1)
    package = finetune(cases_store, "colour", spec, tmp_path / "p", progress=Silent())
    with pytest.raises(DataError, match=r"was trained on \d of 8 cases of this data"):
        cross_validate(
            cases_store, str(package.folder), spec, 2, tmp_path / "cv", progress=Silent()
        )
    body, _ = cross_validate(
        cases_store,
        str(package.folder),
        spec,
        2,
        tmp_path / "cv",
        allow_seen=True,
        progress=Silent(),
    )
    first, second, *_ = body["tasks"]["hue"]["cautions"]
    assert first.startswith("SEEN BEFORE")
    assert "approximate: folds share training cases" in second
