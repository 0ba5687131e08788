"""Each way to learn from few labels, against its formula, and that it sees its draw alone."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pyarrow.compute as pc
import pytest
import torch
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from histoscope.core.config import build
from histoscope.core.errors import DataError, Diverged, UsageError
from histoscope.core.files import read_table
from histoscope.core.heads.contract import Bags, unit_rows
from histoscope.core.heads.neighbours import fit_neighbours, vote
from histoscope.core.learning.calibration import best_temperature, calibrated, why_not
from histoscope.core.learning.probe import STRENGTHS, Probe
from histoscope.core.learning.spec import FinetuneSpec, NeighbourSpec, UniSpec
from histoscope.core.learning.uni import fit_uni, uni_loss
from histoscope.core.packages.package import DRAWS, open_package
from histoscope.core.progress import Silent
from histoscope.core.stages.evaluate import evaluate
from histoscope.core.stages.finetune import finetune
from tests.made import truth


def clouds(count, dim=6, classes=3, apart=1.0, seed=0):
    """Overlapping Gaussian clouds: features and class ids."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, dim)) * apart
    labels = np.arange(count) % classes
    return (centres[labels] + rng.normal(size=(count, dim))).astype(np.float32), labels


def test_features_about_a_centre_have_unit_length():
    features = np.array([[3.0, 4.0], [1.0, 1.0]], np.float32)
    centre = np.array([1.0, 1.0], np.float32)
    found = unit_rows(features, centre)
    assert found[0] == pytest.approx([2 / math.sqrt(13), 3 / math.sqrt(13)], abs=1e-6)
    assert found[1].tolist() == [0, 0]  # the centre itself has no direction


def test_a_probe_about_a_centre_is_a_regression_on_unit_rows():
    features, labels = clouds(60)
    centre = features.mean(axis=0)
    head, strength = Probe(10.0, centre).fit(features, labels, 3)
    rows = unit_rows(features, centre).astype(np.float64)
    model = LogisticRegression(C=10.0, class_weight="balanced", max_iter=2000).fit(rows, labels)
    assert strength == 10
    assert head.probabilities(Bags.of_samples(features)) == pytest.approx(
        model.predict_proba(rows), abs=1e-4
    )


def test_the_strength_is_that_with_the_smallest_held_out_loss():
    features, labels = clouds(60, apart=0.7)
    probe = Probe("cv", features.mean(axis=0))
    _, chosen = probe.fit(features, labels, 3)
    losses = []
    for strength in STRENGTHS:
        logits = Probe(strength, probe.centre).held_out(features, labels, 3)
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        losses.append(-np.log(shares[np.arange(60), labels]).mean())  # classes are equally frequent
    assert chosen == STRENGTHS[int(np.argmin(losses))]
    assert len(set(losses)) == len(STRENGTHS)


def test_a_class_with_one_label_leaves_nothing_to_choose_by():
    features, labels = clouds(7)
    labels = np.array([0, 0, 0, 1, 1, 1, 2])
    assert Probe("cv", features.mean(axis=0)).fit(features, labels, 3)[1] == 1.0


@pytest.mark.parametrize("neighbours", [1, 5, 20])
def test_neighbours_vote_as_those_of_scikit_learn(neighbours):
    features, labels = clouds(80)
    fit, new = features[:50], features[50:]
    centre = fit.mean(axis=0)
    head = fit_neighbours(fit, labels[:50], 3, centre, [neighbours])
    model = KNeighborsClassifier(neighbours, metric="cosine", algorithm="brute")
    model.fit(unit_rows(fit, centre), labels[:50])
    expected = model.predict_proba(unit_rows(new, centre))
    assert head.probabilities(Bags.of_samples(new)) == pytest.approx(expected, abs=1e-6)


def test_the_number_of_neighbours_is_chosen_by_leaving_one_out():
    features, labels = clouds(60, apart=0.6)
    centre = features.mean(axis=0)
    rows = unit_rows(features, centre)
    right = {}
    for count in (1, 5, 20):
        hits = []
        for place in range(60):
            rest = np.delete(np.arange(60), place)
            model = KNeighborsClassifier(count, metric="cosine", algorithm="brute")
            model.fit(rows[rest], labels[rest])
            hits.append(model.predict(rows[place : place + 1])[0] == labels[place])
        right[count] = np.mean([np.mean(np.array(hits)[labels == k]) for k in range(3)])
    best = max(right.values())
    chosen = fit_neighbours(features, labels, 3, centre, (1, 5, 20)).neighbours
    assert chosen == min(count for count, score in right.items() if score == best)
    assert len(set(right.values())) > 1


def test_more_neighbours_than_labels_are_left_out():
    features, labels = clouds(6)
    assert fit_neighbours(features, labels, 3, features[0], (20,)).neighbours == 1


def test_a_row_has_no_vote_on_itself():
    nearness = np.array([[-np.inf, 0.5, 0.4]], np.float32)
    assert vote(nearness, np.array([[1], [0], [1]]), 3).tolist() == [[0.5]]


def test_those_who_do_not_know_of_a_class_have_no_vote():
    nearness = np.array([[0.9, 0.8, 0.7, 0.1]], np.float32)
    truth = np.array([[-1, -1], [1, -1], [0, -1], [1, -1]])
    assert vote(nearness, truth, 2).tolist() == [[0.5, 0.0]]


def test_unis_probe_is_at_the_least_of_its_loss():
    """The minimum that another optimiser finds of the formula written as loops."""
    features, labels = clouds(40, dim=3, classes=2, apart=0.4)
    head, strength = fit_uni(features, labels, 2)
    assert strength == pytest.approx(3 * 2 / 100)

    def by_loops(flat):
        weight, bias = flat[:6].reshape(2, 3), flat[6:]
        total = 0.0
        for row, kind in zip(features.astype(float), labels, strict=True):
            scores = [sum(weight[k, d] * row[d] for d in range(3)) + bias[k] for k in range(2)]
            total += math.log(sum(math.exp(s) for s in scores)) - scores[kind]
        return total / len(labels) + 0.5 * math.sqrt(sum(w * w for w in flat[:6])) / strength

    flat = np.concatenate([head.weight.ravel(), head.bias]).astype(float)
    found = uni_loss(
        *(torch.tensor(a).double() for a in (head.weight, head.bias, features)),
        torch.tensor(labels),
        strength,
    ).item()
    assert found == pytest.approx(by_loops(flat), rel=1e-6)
    start = np.random.default_rng(0).normal(size=8) * 0.01
    least = minimize(by_loops, start, method="Nelder-Mead", options={"maxiter": 20000}).fun
    assert found <= least + 1e-4


def test_a_temperature_is_found_again():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 3)) * 2
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(3, p=row) for row in shares])
    assert best_temperature(logits * 2.5, labels) == pytest.approx(2.5, rel=0.1)


def test_calibration_keeps_ranks_and_lowers_the_loss_on_new_samples():
    features, labels = clouds(600, dim=40, classes=2, apart=0.1)
    probe = Probe(100.0, features[:200].mean(axis=0))
    head, _ = probe.fit(features[:120], labels[:120], 2)
    found, temperature = calibrated(
        head, probe.held_out(features[:120], labels[:120], 2), labels[:120]
    )
    new, true = features[120:], labels[120:]
    before, after = (
        head.probabilities(Bags.of_samples(new)),
        found.probabilities(Bags.of_samples(new)),
    )
    assert temperature > 1.2
    assert (before.argmax(axis=1) == after.argmax(axis=1)).all()
    loss = [-np.log(p[np.arange(len(new)), true]).mean() for p in (before, after)]
    assert loss[1] < loss[0]


def units_of(count, of):
    """So many cases, one after another."""
    return [f"case:{place % of:03d}" for place in range(count)]


def test_few_labels_or_few_cases_are_not_calibrated_and_say_why():
    many, halves = units_of(200, 40), truth(np.arange(200) % 2)
    assert why_not(halves, many) is None
    few = truth(np.arange(99) % 2)
    assert why_not(few, many[:99]) == "99 labels are fewer than 100; scores only rank"
    rare = truth(np.r_[np.zeros(200, int), np.ones(5, int)])
    assert "a class has 5 labels" in why_not(rare, units_of(205, 205))
    assert "present together" in why_not(truth(np.ones((200, 2), int)), many)
    assert why_not(halves, units_of(200, 19)) == "19 cases are fewer than 20; scores only rank"
    of_four = [f"case:{place % 4 if place % 2 else place}" for place in range(200)]
    told = "a class is in 2 cases, fewer than 5; scores only rank"
    assert why_not(halves, of_four) == told


def test_of_sources_the_cases_alone_decide():
    """A hospital has 40 labelled sources, not 100."""
    of_source = truth(np.arange(40) % 2, level="source")
    assert why_not(of_source, units_of(40, 40)) is None
    assert why_not(truth(np.arange(40) % 2), units_of(40, 40)).startswith("40 labels are fewer")
    assert why_not(of_source, units_of(40, 19)) == "19 cases are fewer than 20; scores only rank"
    rare = truth(np.arange(24) % 6 == 0, level="source")
    told = "a class is in 4 cases, fewer than 5; scores only rank"
    assert why_not(rare, units_of(24, 24)) == told


@pytest.mark.parametrize("method", ["probe", "knn", "uni", "probe_full"])
def test_a_draw_sees_no_label_but_its_own(toy, toy_store, tmp_path, method):
    """Where nobody has the other labels, its heads are the same to the bit."""
    encoder = "random:test_resnet" if method == "probe_full" else "colour"
    steps = {"full": {"steps": 2}} if method == "probe_full" else {}
    few = build(FinetuneSpec, {"method": method, "fraction": 0.2, "draws": 1, **steps}, "test")
    one = finetune(toy_store, encoder, few, tmp_path / "one", progress=Silent())
    drawn = read_table(tmp_path / "one" / "draws.parquet", *DRAWS)
    assert len(drawn) == one.info.heads[0].labels[0] < 20
    table = toy_store.labels()
    seen = pc.is_in(table.names, drawn.column("sample").combine_chunks())
    replace(table, rows=table.rows.filter(seen)).write(tmp_path / "alone.parquet")
    every = few.model_copy(update={"fraction": 1.0})
    two = finetune(
        toy_store,
        encoder,
        every,
        tmp_path / "two",
        labels=tmp_path / "alone.parquet",
        progress=Silent(),
    )
    ours, theirs = one.head(0).tensors(), two.head(0).tensors()
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_unis_probe_refuses_classes_that_may_be_present_together(signs_store, tmp_path):
    with pytest.raises(UsageError, match="one class a sample only"):
        finetune(
            signs_store,
            "colour",
            UniSpec(),
            tmp_path / "p",
            tasks=("signs",),
            progress=Silent(),
        )


def test_what_was_chosen_in_each_draw_is_in_the_package(toy, toy_store, tmp_path):
    for method, keys in (("probe", ["strength", "held_out"]), ("knn", ["neighbours"])):
        spec = build(FinetuneSpec, {"method": method, "fraction": 0.5, "draws": 2}, "test")
        finetune(toy_store, "colour", spec, tmp_path / method, progress=Silent())
        package = open_package(tmp_path / method)
        assert [list(one) for one in package.info.heads[0].settings] == [keys, keys]
        assert package.info.heads[0].calibration["kind"] == "none"
        evaluate(package, toy_store, tmp_path / f"e-{method}", progress=Silent())


@pytest.mark.parametrize("method", ["full", "swav"])
def test_a_fine_tuning_that_diverges_is_refused_and_leaves_nothing(
    toy, toy_store, tmp_path, method
):
    steps = {method: {"steps": 9, "learning_rate": 1e30}}
    spec = build(FinetuneSpec, {"method": method, "fraction": 0.5, "draws": 1, **steps}, "test")
    with pytest.raises(
        Diverged, match=rf"draw 1, step \d: .* not finite; .*{method}.learning_rate"
    ):
        finetune(toy_store, "random:test_resnet", spec, tmp_path / "p", progress=Silent())
    assert not (tmp_path / "p").exists()


HOSTILE = {
    "centre": lambda value: value[:3],
    "features": lambda value: value * float("nan"),
    "truth": lambda value: value + 6,
    "neighbours": lambda value: value * 0,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_head_of_other_shape_or_numbers_is_refused(toy, toy_store, tmp_path, name):
    from histoscope.core.files import sha256_of
    from histoscope.core.tensors import load_tensors, save_tensors

    spec = NeighbourSpec(fraction=0.5, draws=1)
    finetune(toy_store, "colour", spec, tmp_path / "p", progress=Silent())
    file = tmp_path / "p" / "model.safetensors"
    before, tensors = sha256_of(file), load_tensors(file)
    key = f"head.0.0.{name}"
    save_tensors(file, {**tensors, key: HOSTILE[name](tensors[key])})
    sums = tmp_path / "p" / "SHA256SUMS"
    sums.write_text(sums.read_text().replace(before, sha256_of(file)))
    with pytest.raises(DataError, match=r"the heads in model\.safetensors"):
        open_package(tmp_path / "p").head(0)
