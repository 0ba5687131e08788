"""Classes that may be present together: draws, probes, thresholds, several heads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from histoscope.apps.report.package import package_lines
from histoscope.core.config import build
from histoscope.core.contracts import Task
from histoscope.core.data.labels import LabelTable
from histoscope.core.errors import DataError
from histoscope.core.evaluation import metrics
from histoscope.core.evaluation.measure import measure
from histoscope.core.evaluation.units import Units
from histoscope.core.heads.contract import Bags
from histoscope.core.inference.runner import Runner
from histoscope.core.learning.draws import draw_labels
from histoscope.core.learning.probe import Probe
from histoscope.core.learning.spec import FinetuneSpec
from histoscope.core.learning.thresholds import untold_cautions
from histoscope.core.packages.package import open_package
from histoscope.core.progress import Silent
from histoscope.core.runtime.device import AUTO
from histoscope.core.stages.evaluate import evaluate
from histoscope.core.stages.finetune import finetune
from histoscope.core.work.local import Local
from tests.made import examples
from tests.made import truth as as_truth


def truth_of(rng, rows, unknown=0.1):
    """Presence of three classes, one rare, some unknown."""
    truth = (rng.random((rows, 3)) < (0.5, 0.2, 0.02)).astype(np.int64)
    truth[rng.random((rows, 3)) < unknown] = -1
    truth[(truth < 0).all(axis=1), 0] = 0
    return truth


@given(rows=st.integers(30, 300), fraction=st.floats(0.01, 1), draw=st.integers(0, 5))
def test_draws_cover_every_class_nest_and_repeat(rows, fraction, draw):
    truth = truth_of(np.random.default_rng(rows), rows)
    cases = [None] * rows
    small = draw_labels(as_truth(truth), cases, fraction / 2, draw, 0, "sample")
    told = as_truth(truth)
    large = draw_labels(told, cases, fraction, draw, 0, "sample")
    assert set(small) <= set(large)
    assert (
        large.tolist() == draw_labels(as_truth(truth), cases, fraction, draw, 0, "sample").tolist()
    )
    present = (truth == 1).any(axis=0)
    assert ((truth[small] == 1).any(axis=0) == present).all()
    assert len(large) <= max(1, round(fraction * rows)) + 3


def test_each_class_is_a_regression_on_the_rows_where_it_is_known():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(80, 4)).astype(np.float32)
    truth = truth_of(rng, 80, unknown=0.3)
    truth[:, 1] = np.where(truth[:, 1] < 0, -1, features[:, 2] > 0)
    head = Probe().fit(features, truth, 3)[0]
    assert not head.exclusive
    known = truth[:, 1] >= 0
    inside = features[known]
    scaled = (inside - inside.mean(0)) / inside.std(0)
    model = LogisticRegression(C=1.0, class_weight="balanced", max_iter=2000)
    model.fit(scaled.astype(np.float64), truth[known, 1])
    expected = model.predict_proba(scaled.astype(np.float64))[:, 1]
    assert head.probabilities(Bags.of_samples(inside))[:, 1] == pytest.approx(expected, abs=1e-4)


def test_a_class_that_never_or_always_occurs_has_its_frequency():
    features = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    truth = np.stack([np.zeros(9), np.ones(9), np.full(9, -1)], axis=1).astype(np.int64)
    found = Probe().fit(features, truth, 3)[0].probabilities(Bags.of_samples(features))
    assert found == pytest.approx(np.tile([0.5 / 10, 9.5 / 10, 0.5], (9, 1)), abs=1e-6)


def test_thresholds_are_fitted_inside_the_draw_and_only_on_enough_labels():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(200, 3)).astype(np.float32)
    truth = np.zeros((200, 2), np.int64)
    truth[:, 0] = features[:, 0] + 0.5 * rng.normal(size=200) > 1.0
    truth[:5, 1] = 1  # too few
    head = Probe().fit_with_thresholds(features, truth, 2)[0]
    assert head.cut[1] == 0.5
    assert head.cut[0] != 0.5
    again = Probe().fit_with_thresholds(features, truth, 2)[0]
    assert again.cut.tolist() == head.cut.tolist()


def test_a_class_whose_scores_tell_nothing_is_named_and_as_frequent_as_in_the_labels():
    rng = np.random.default_rng(5)
    features = rng.normal(size=(300, 3)).astype(np.float32)
    truth = np.stack([features[:, 0] > 0.5, rng.random(300) < 0.1], axis=1).astype(np.int64)
    head, _, untold = Probe().fit_with_thresholds(features, truth, 2)
    assert untold == [1]
    said = head.probabilities(Bags.of_samples(features)) >= head.cut
    assert said[:, 1].mean() == pytest.approx(truth[:, 1].mean(), abs=0.03)
    (told,) = untold_cautions([["b"], [], ["b", "c"]])
    assert told.startswith("held-out scores of b (2 of 3 heads), c (1 of 3 heads) were not told ")
    assert untold_cautions([[], []]) == []


def test_a_class_that_no_row_knows_of_is_never_said_to_be_present():
    features = np.random.default_rng(2).normal(size=(30, 3)).astype(np.float32)
    truth = np.stack([features[:, 0] > 0, np.full(30, -1)], axis=1).astype(np.int64)
    head = Probe().fit_with_thresholds(features, truth, 2)[0]
    said = head.probabilities(Bags.of_samples(features)) >= head.cut
    assert said[:, 0].any()
    assert not said[:, 1].any()


def test_a_draw_by_case_is_never_empty():
    truth = np.zeros((4, 2), np.int64)  # nothing is ever present, and 1 % of four rounds to none
    assert len(draw_labels(as_truth(truth), ["a", "a", "b", "b"], 0.01, 0, 0, "case")) == 2


@pytest.mark.parametrize("name", ["sample", "a\nb"])
def test_a_class_whose_name_the_table_cannot_hold_is_refused(name):
    task = Task("signs", (name, "b"), exclusive=False)
    with pytest.raises(DataError, match="no class may be called"):
        LabelTable.make(task, ["1"], [[True], [False]], "a test")


@pytest.mark.parametrize("units", [1, 3, 250])
def test_the_mean_by_unit_is_that_of_each_unit_alone(units):
    rng = np.random.default_rng(3)
    names = [f"case:{place % units}" for place in range(500)]
    truth, scores = rng.integers(0, 2, (500, 1)), rng.random((500, 1)).astype(np.float32)
    found = measure(examples(truth, names), [scores], [[0.5]])["mean_average_precision_by_unit"]
    each = np.array(names)
    alone = [
        average_precision_score(truth[each == name, 0], scores[each == name, 0])
        for name in set(names)
        if truth[each == name, 0].any()
    ]
    assert found["value"] == pytest.approx(np.mean(alone), abs=1e-6)


@given(seed=st.integers(0, 200))
def test_average_precision_is_scikit_learns_on_the_repeated_samples(seed):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, 30)
    truth[0] = 1
    scores = rng.choice([0.1, 0.3, 0.5, 0.9], 30).astype(np.float32)
    counts = rng.integers(0, 3, 30)
    counts[0] = 1
    weights = np.stack([np.ones(30), counts])
    units = Units(tuple(map(str, range(30))), np.arange(30))
    found = metrics.average_precision(truth, scores, units)(weights)
    repeated = np.repeat(np.arange(30), counts)
    assert found[0] == pytest.approx(average_precision_score(truth, scores))
    assert found[1] == pytest.approx(average_precision_score(truth[repeated], scores[repeated]))


def test_unknown_truth_is_masked_and_no_positive_is_undefined():
    truth = np.array([1, 0, -1, 1])
    scores = np.array([0.9, 0.8, 0.99, 0.1], np.float32)
    every, ones = Units.whole(4), np.ones((1, 1))
    known = average_precision_score([1, 0, 1], [0.9, 0.8, 0.1])
    assert metrics.average_precision(truth, scores, every)(ones)[0] == pytest.approx(known)
    assert np.isnan(metrics.average_precision(np.array([0, 0, -1, 0]), scores, every)(ones)[0])
    assert metrics.f1(truth, scores > 0.5, every)(ones)[0] == pytest.approx(0.5)
    assert np.isnan(metrics.f1(np.zeros(4, int), np.zeros(4, bool), every)(ones)[0])


def test_a_label_table_has_one_nullable_column_a_class(signs_store):
    assert signs_store.tasks() == ["hue", "signs"]
    labels = LabelTable.read(signs_store.path / "labels" / "signs.parquet")
    task, table = labels.task, labels.rows
    assert (task.exclusive, task.classes) == (False, ("warm", "bright"))
    assert table.column_names == ["sample", "warm", "bright"]
    assert table.column("warm").null_count > 0
    assert table.column("bright").null_count == len(table)


def answers(package, images, draw):
    """Probabilities of each task for images."""
    features = Runner.of(package.encoder(draw), AUTO).features(images)
    bags = Bags.of_samples(features)
    return [package.head(place, draw).probabilities(bags) for place in range(2)]


@pytest.mark.parametrize("method", ["probe", "knn", "full", "probe_full", "swav"])
def test_two_heads_share_an_encoder_and_are_scored_apart(signs_store, tmp_path, method):
    steps = {
        "full": {"full": {"steps": 2, "batch_size": 8}},
        "probe_full": {"full": {"steps": 2, "batch_size": 8}},
        "swav": {"swav": {"steps": 5, "batch_size": 8}},
    }
    body = {"method": method, "fraction": 0.5, "draws": 2, **steps.get(method, {})}
    spec = build(FinetuneSpec, body, "test")
    frozen = method in {"probe", "knn"}
    encoder = "colour" if frozen else "random:test_resnet"
    package = finetune(
        signs_store, encoder, spec, tmp_path / "p", tasks=("hue", "signs"), progress=Silent()
    )
    assert package.encoders == (1 if frozen else 2)
    again = open_package(tmp_path / "p")
    images = signs_store.reader.images(range(6))
    for one, other in zip(answers(package, images, 1), answers(again, images, 1), strict=True):
        assert np.array_equal(one, other)
    hue, signs = answers(again, images, 0)
    assert hue.sum(axis=1) == pytest.approx(np.ones(6), abs=1e-6)
    assert signs.shape == (6, 2)
    body = evaluate(again, signs_store, tmp_path / "e", progress=Silent())["tasks"]
    assert body["hue"]["balanced_accuracy"]["value"] is not None
    assert body["signs"]["average_precision"]["bright"]["value"] is None  # never known
    assert 0 < body["signs"]["mean_average_precision"]["value"] <= 1


def test_what_is_not_told_from_chance_is_kept_and_cautioned_of(signs_store, tmp_path):
    names = signs_store.index.column("id")
    seen = np.random.default_rng(1).random(len(names)) < 0.5
    table = LabelTable.make(Task("coin", ("heads",), exclusive=False), names, [seen], "a test")
    table.write(tmp_path / "coin.parquet")
    spec = build(FinetuneSpec, {"fraction": 1, "draws": 2, "strength": 1.0}, "test")
    told = {"labels": tmp_path / "coin.parquet", "progress": Silent()}
    package = finetune(signs_store, "colour", spec, tmp_path / "p", **told)
    assert package.info.heads[0].untold == [["heads"], ["heads"]]
    assert package_lines(package.info.model_dump())["Not told from chance"].startswith("heads: ")
    body = evaluate(package, signs_store, tmp_path / "e", **told)
    (said,) = (one for one in body["tasks"]["coin"]["cautions"] if "chance" in one)
    assert said.startswith("held-out scores of heads (2 of 2 heads) were not told from chance")


def test_marked_samples_are_left_out_of_pretraining_and_said(toy, tmp_path):
    from histoscope.core.data.selection import select
    from histoscope.core.data.store import Store
    from histoscope.core.stages.prepare import prepare

    folder = tmp_path / "toy"
    folder.mkdir()
    toy.write_stack(folder / "a-train.npy", 20, 0)
    dark = np.load(folder / "a-train.npy")
    dark[3:7, 1:] = 10
    np.save(folder / "a-train.npy", dark)
    roots = {"input": folder}
    prepare(
        toy.DOMAIN,
        roots,
        toy.ToySampling(),
        toy.ToyOptions(),
        tmp_path / "store",
        engine=Local(0),
        progress=Silent(),
    )
    store = Store(tmp_path / "store")
    assert store.index.column("mark").to_pylist() == [None] * 3 + ["dull"] * 4 + [None] * 13
    chosen = select(store, "train", marked=False)
    assert len(chosen.rows) == 16
    assert "left out as marked: 4 dull" in chosen.said
    assert len(select(store, "train").rows) == 20


def test_a_part_of_the_stores_own_split_is_used_by_name(toy_store):
    from histoscope.core.data.selection import select

    found = select(toy_store, "test", "valid")
    assert found.said == "the valid split: 12 samples"
    assert len(found.rows) == 12


def test_a_published_split_is_used_by_name(toy, toy_folder, tmp_path):
    from histoscope.core.data.selection import select
    from histoscope.core.data.store import Store
    from histoscope.core.errors import DataError
    from histoscope.core.stages.prepare import prepare

    prepare(
        toy.DOMAIN,
        {"input": toy_folder},
        toy.ToySampling(),
        toy.ToyOptions(with_cases=True),
        tmp_path / "store",
        engine=Local(0),
        progress=Silent(),
    )
    store = Store(tmp_path / "store")
    found = select(store, "test", "by-name:valid")
    assert len(found.rows) == 12
    assert found.said == "valid of by-name: 12 samples"
    with pytest.raises(DataError, match=r"no such file \(published splits: by-name\)"):
        select(store, "test", "by-nam:valid")
