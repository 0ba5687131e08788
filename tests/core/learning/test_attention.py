"""Attention over samples: MONAI's numbers, and a rare class in sources that tell nothing else."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from histoscope.core.contracts import Task
from histoscope.core.errors import UsageError
from histoscope.core.heads.contract import Bags
from histoscope.core.learning import FITTERS
from histoscope.core.learning.attention import AttentionFitter, new_model
from histoscope.core.learning.contract import Draw
from histoscope.core.learning.probe import ProbeFitter
from histoscope.core.learning.spec import AttentionSpec, FinetuneSpec, ProbeSpec
from tests.core.learning.rare_sources import DIM, ROWS, drawn, made

FAST = {"attention": {"steps": 600}}


def fitted(bags, labels, **more):
    return AttentionFitter(AttentionSpec(**{**FAST, **more})).fit(drawn(bags, labels)).head


@pytest.mark.parametrize("mode", ["att", "att_trans"])
def test_a_head_computes_what_monai_does(mode):
    bags, labels, _ = made(6, 0)
    head = fitted(bags, labels, attention={"steps": 60, "mode": mode})
    model = new_model(DIM, 2, 0, mode).eval()
    kept = head.tensors()
    blocks = {name: one for name, one in kept.items() if name.startswith("blocks.")}
    assert len(blocks) == (48 if mode == "att_trans" else 0)
    state = {
        **{name.replace("blocks", "transformer.layers"): one for name, one in blocks.items()},
        "attention.0.weight": kept["hidden"],
        "attention.0.bias": kept["hidden_bias"],
        "attention.2.weight": kept["score"][None],
        "attention.2.bias": np.array([0.7], np.float32),  # adds the same to all: no weight changes
        "myfc.weight": kept["weight"],
        "myfc.bias": kept["bias"],
    }
    model.load_state_dict({name: torch.from_numpy(np.array(one)) for name, one in state.items()})
    scaled = (bags.features - kept["centre"]) / kept["spread"]
    with torch.no_grad():
        wanted = torch.cat(
            [
                model.calc_head(torch.from_numpy(part)[None]).softmax(1)
                for part in np.split(scaled, bags.starts[1:-1])
            ]
        )
    assert np.allclose(head.probabilities(bags), wanted.numpy(), atol=1e-5)
    assert head.attention(bags.features[:ROWS]).sum() == pytest.approx(1)


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
    said = "shares features out among 8 heads, and the encoder's 30 are not divisible by 8; use att"
    with pytest.raises(UsageError, match=said):
        AttentionFitter(spec).check_width(30)
    AttentionFitter(spec).check_width(32)
    AttentionFitter(AttentionSpec()).check_width(30)


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
