"""Attention over samples: MONAI's numbers, and a rare class in sources that tell nothing else."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn.functional import cross_entropy

from histoscope.core.config import build
from histoscope.core.contracts import Task
from histoscope.core.errors import ConfigError, UsageError
from histoscope.core.heads.attention import AttentionHead
from histoscope.core.heads.contract import Bags
from histoscope.core.learning import FITTERS
from histoscope.core.learning.attention import (
    AttentionFitter,
    Pools,
    components,
    new_model,
)
from histoscope.core.learning.bags import order_of, train
from histoscope.core.learning.contract import Draw
from histoscope.core.learning.probe import ProbeFitter
from histoscope.core.learning.spec import AttentionSpec, FinetuneSpec, ProbeSpec
from tests.core.learning.rare_sources import DIM, ROWS, drawn, made

FAST = {"attention": {"steps": 150}}


def fitted(bags, labels, **more):
    return AttentionFitter(AttentionSpec(**{**FAST, **more})).fit(drawn(bags, labels)).head


def monais(head, number, mode="att"):
    """MONAI's model with the weights of one of the attentions of a head."""
    kept = head.tensors()
    heads, units = kept["score"].shape
    hidden = slice(number * units, (number + 1) * units)
    width = kept["hidden"].shape[1]
    blocks = {name: one for name, one in kept.items() if name.startswith("blocks.")}
    state = {
        **{name.replace("blocks", "transformer.layers"): one for name, one in blocks.items()},
        "attention.0.weight": kept["hidden"][hidden],
        "attention.0.bias": kept["hidden_bias"][hidden],
        "attention.2.weight": kept["score"][number][None],
        "attention.2.bias": np.array([0.7], np.float32),  # adds the same to all: no weight changes
        "myfc.weight": heads * kept["weight"][:, number * width : (number + 1) * width],
        "myfc.bias": kept["bias"],
    }
    model = new_model(width, 2, 0, mode, units).eval()
    model.load_state_dict({name: torch.from_numpy(np.array(one)) for name, one in state.items()})
    return model


@pytest.mark.parametrize(
    ("told", "heads", "width"),
    [
        ({"mode": "att"}, 8, DIM),
        ({"mode": "att", "heads": 3, "components": 5}, 3, 5),
        ({"mode": "att", "heads": 1, "components": None, "units": 7}, 1, DIM),
        ({"mode": "att_trans"}, 1, DIM),
        ({"mode": "att_trans", "components": 8}, 1, 8),
    ],
)
def test_a_head_computes_what_monai_does(told, heads, width):
    bags, labels, _ = made(6, 0)
    head = fitted(bags, labels, attention={"steps": 30, **told})
    kept = head.tensors()
    assert ("basis" in kept) == (width < DIM)
    assert kept["hidden"].shape == (heads * told.get("units", 128), width)
    assert any(name.startswith("blocks.") for name in kept) == (told["mode"] == "att_trans")
    scaled = (bags.features - kept["centre"]) / kept["spread"] @ kept.get("basis", np.eye(DIM))
    rows = torch.from_numpy(scaled.astype(np.float32))
    with torch.no_grad():
        each = [
            torch.cat([model.calc_head(part[None]) for part in rows.split(ROWS)])
            for model in (monais(head, number, told["mode"]) for number in range(heads))
        ]
        weights = [
            monais(head, number).attention(rows[:ROWS]).softmax(0)[:, 0]
            for number in range(heads)
            if told["mode"] == "att"
        ]
    wanted = torch.stack(each).mean(0).softmax(1)
    assert np.allclose(head.probabilities(bags), wanted.numpy(), atol=1e-5)
    attention = head.attention(bags.features[:ROWS])
    assert attention.sum() == pytest.approx(1)
    if weights:
        assert np.allclose(attention, torch.stack(weights).mean(0), atol=1e-6)


def test_models_side_by_side_learn_as_their_logits_averaged():
    bags, labels, _ = made(6, 0)
    told = AttentionSpec(attention={"steps": 3, "heads": 2, "part": 1.0}).attention
    pools = Pools(DIM, 2, told, 0)
    train(pools.weights.values(), pools.logits, bags, labels, told, 0)
    models = nn.ModuleList([new_model(DIM, 2, seed, "att", told.units) for seed in (0, 1)])
    optimiser = torch.optim.AdamW(models.parameters(), told.learning_rate, weight_decay=10.0)
    places = order_of(labels, 12, 0).reshape(3, 4)
    for step in range(3):
        rate = told.learning_rate * 0.5 * (1 + np.cos(np.pi * step / 3))
        for group in optimiser.param_groups:
            group["lr"] = rate
        rows = torch.from_numpy(bags.features).reshape(6, ROWS, DIM)[places[step]]
        logits = (models[0].calc_head(rows) + models[1].calc_head(rows)) / 2
        optimiser.zero_grad()
        cross_entropy(logits, torch.from_numpy(labels[places[step]])).backward()
        optimiser.step()
    for number, model in enumerate(models):
        for name, one in model.named_parameters():
            if name != "attention.2.bias":  # changes no weight: its gradient is rounding
                assert torch.allclose(pools.weights[f"model.{name}"][number], one, atol=1e-4)


def test_components_are_those_of_most_variance():
    rows = np.random.default_rng(0).normal(size=(500, 6)) * [3, 1, 1, 2, 1, 1]
    found = components(rows.astype(np.float32), 2)
    assert np.abs(found[[0, 3]]).max(axis=0) == pytest.approx(np.abs(found).max(axis=0))
    seen = rows @ found
    assert (seen**2).mean() == pytest.approx(1, abs=1e-4)
    assert abs(np.corrcoef(seen.T)[0, 1]) < 0.05


def test_a_head_of_one_attention_as_older_packages_have_it_is_read():
    bags, labels, _ = made(6, 0)
    one = {"steps": 3, "heads": 1, "components": None}
    head = fitted(bags, labels, attention=one)
    older = {**head.tensors(), "score": head.tensors()["score"][0]}
    task = Task("rare", ("without", "with"), level="source")
    read = AttentionHead.of(older, task, DIM, None)
    assert np.array_equal(read.probabilities(bags), head.probabilities(bags))


def test_it_finds_the_rare_samples_and_the_sources_that_hold_them():
    train, labels, _ = made(20, 1)
    test, truth, rare = made(60, 2)
    head = fitted(train, labels)
    auc = roc_auc_score(truth, head.probabilities(test)[:, 1])
    probe = ProbeFitter(ProbeSpec()).fit(drawn(train, labels)).head
    assert auc > 0.9
    assert auc > roc_auc_score(truth, probe.probabilities(test)[:, 1]) + 0.1
    found = [
        roc_auc_score(held, head.attention(test.features[start : start + ROWS]))
        for start, held, label in zip(test.starts, rare, truth, strict=False)
        if label
    ]
    assert np.mean(found) > 0.8


def test_few_sources_of_many_features_are_told_apart_where_one_attention_learns_them_by_heart():
    train_, labels, _ = made(20, 3, dim=128)
    test, truth, _ = made(60, 4, dim=128)
    one = {"heads": 1, "units": 2048, "components": None, "part": 1.0, "sources": 1}
    one |= {"learning_rate": 1e-3, "weight_decay": 1e-2}
    found = []
    for told in ({}, one):
        head = fitted(train_, labels, attention={"steps": 300, **told})
        assert roc_auc_score(labels, head.probabilities(train_)[:, 1]) == 1
        found.append(roc_auc_score(truth, head.probabilities(test)[:, 1]))
    assert found[0] > 0.95
    assert found[1] < 0.8


def test_after_a_transformer_samples_answer_by_who_stands_beside_them():
    bags, labels, _ = made(4, 0)
    trans = {"attention": {"steps": 3, "mode": "att_trans"}}
    one, same = (fitted(bags, labels, **trans) for _ in range(2))
    for name, values in one.tensors().items():
        assert np.array_equal(values, same.tensors()[name])
    rows = bags.features[:ROWS]
    told, weights = one.answered(rows)
    assert np.array_equal(told, one.probabilities(Bags.of_one(rows)))
    assert np.array_equal(weights, one.attention(rows))
    assert np.allclose(weights[::-1], one.attention(rows[::-1]), atol=1e-6)
    alone = np.log(one.attention(rows[:2]))
    assert abs((alone[0] - alone[1]) - np.log(weights[0] / weights[1])) > 1e-4


def test_the_transformer_learns():
    bags, labels, _ = made(20, 1)
    rows = bags.features + 2 * np.repeat(labels, ROWS)[:, None]
    shifted = Bags(rows.astype(np.float32), bags.starts)
    head = fitted(shifted, labels, attention={"steps": 60, "mode": "att_trans", "samples": 40})
    assert roc_auc_score(labels, head.probabilities(shifted)[:, 1]) > 0.95


def test_a_width_that_cannot_be_shared_out_is_refused():
    spec = AttentionSpec(attention={"mode": "att_trans"})
    assert spec.attention.learning_rate == 3e-4
    assert AttentionSpec(attention=spec.attention.model_dump()) == spec
    said = "shares features out among 8 heads, and the 30 that it reads are not divisible by 8; use"
    with pytest.raises(UsageError, match=said):
        AttentionFitter(spec).check_width(30)
    AttentionFitter(spec).check_width(32)
    AttentionFitter(AttentionSpec()).check_width(30)


def test_a_transformer_has_one_attention():
    told = {"method": "attention", "attention": {"mode": "att_trans", "heads": 2}}
    with pytest.raises(ConfigError, match="heads: att_trans has one; leave it out, or give 1"):
        build(FinetuneSpec, told, "a")


def test_labels_that_mean_nothing_give_nothing():
    train, labels, _ = made(20, 1)
    test, truth, _ = made(60, 2)
    permuted = np.random.default_rng(0).permutation(labels)
    auc = roc_auc_score(truth, fitted(train, permuted).probabilities(test)[:, 1])
    assert 0.2 < auc < 0.8


def test_the_same_labels_give_the_same_bits_and_another_seed_others():
    bags, labels, _ = made(8, 3)
    one, same, other = (fitted(bags, labels, seed=seed) for seed in (0, 0, 1))
    for name, values in one.tensors().items():
        assert np.array_equal(values, same.tensors()[name])
    assert not np.array_equal(one.tensors()["hidden"], other.tensors()["hidden"])


def test_with_labels_enough_scores_are_calibrated_by_whole_units():
    bags, labels, _ = made(24, 4)
    fast = AttentionFitter(AttentionSpec(attention={"steps": 30}))
    told = drawn(bags, labels)
    told = Draw(told.truth, told.units, bags, DIM, told.centre, None)
    made_ = fast.fit(told)
    assert made_.uncalibrated is None
    assert made_.settings["temperature"] > 0
    plain = fast.fit(drawn(bags, labels)).head
    ratio = plain.tensors()["weight"] / made_.head.tensors()["weight"]
    assert np.allclose(ratio, made_.settings["temperature"], rtol=1e-3)


def test_several_classes_learn_from_what_is_known():
    bags, labels, _ = made(10, 5)
    values = np.stack([labels, np.full(10, -1)], axis=1)
    draw = drawn(bags, values, exclusive=False)
    head = AttentionFitter(AttentionSpec(**FAST)).fit(draw).head
    assert not head.exclusive
    scores = head.probabilities(bags)
    assert roc_auc_score(labels, scores[:, 0]) > 0.9


def test_samples_are_no_task_for_it():
    fitter = FITTERS.load("attention")(AttentionSpec())
    with pytest.raises(UsageError, match="--method attention: answers no task of a sample"):
        fitter.check(Task("tissue", ("a", "b")))
    assert FinetuneSpec.chosen({"method": "attention"}) is AttentionSpec
