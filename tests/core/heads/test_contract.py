"""Every kind of head keeps its contract; what a package cannot hold is refused."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace

import numpy as np
import pytest

from histoscope.core.heads import HEADS
from histoscope.core.heads.attention import AttentionHead
from histoscope.core.heads.contract import Bags
from histoscope.core.heads.layer import LayerHead
from histoscope.core.heads.linear import LinearHead
from histoscope.core.heads.mean import MeanHead
from histoscope.core.heads.mstcn import StagesHead
from histoscope.core.heads.neighbours import fit_neighbours
from histoscope.core.heads.topk import TopKHead
from histoscope.core.learning.mstcn import new_stages
from histoscope.core.learning.probe import Probe
from histoscope.core.learning.spec import StagesStepsSpec
from histoscope.core.testing.heads import check_head
from tests.core.heads.test_transformer import tensors_of
from tests.made import truth

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(30, 6)).astype(np.float32)
CLASSES = np.arange(30) % 3
PRESENT = RNG.integers(-1, 2, (30, 3))


ONE, SEVERAL = truth(CLASSES).task, truth(PRESENT).task
OF_SOURCE = truth(CLASSES, level="source").task
SEVERAL_OF_SOURCE = truth(PRESENT, level="source").task


def attention(heads=2, width=4, blocks=None):
    """A head whose attentions depend on the sample, on features or a basis of them."""
    size = 6 if blocks is None else 8
    means = np.random.default_rng(1).normal(size=(30, heads * width)).astype(np.float32)
    linear = Probe(1.0).fit(means, CLASSES, 3)[0]
    sizes = ((heads * 5, width), (heads * 5,), (heads, 5), (size,))
    parts = [RNG.normal(size=size).astype(np.float32) for size in sizes]
    basis = None if width == size else RNG.normal(size=(size, width)).astype(np.float32)
    spread = np.full(size, 1.5, np.float32)
    return AttentionHead(linear, *parts, spread, basis, blocks or {})


def transformed():
    """One whose samples pass through a transformer first, of eight features."""
    return attention(1, 8, tensors_of(2, dim=8))


def of_part(kind, labels):
    """A probe of three of the features."""
    probe = Probe(1.0, FEATURES[:, 2:5].mean(axis=0))
    fit = probe.fit if labels.ndim == 1 else probe.fit_with_thresholds
    head = fit(FEATURES[:, 2:5], labels, 3)[0]
    return LayerHead(head if kind is LinearHead else kind(head), 2, 5)


def staged(causal, exclusive=True):
    """One of two stages of three layers, on what comes before or also after."""
    told = StagesStepsSpec(layers=3, maps=5)
    stages = {name: one.detach().numpy() for name, one in new_stages(6, 3, told, 0).items()}
    cut = None if exclusive else np.array([0.3, 0.5, 1.0], np.float32)
    return StagesHead(FEATURES.mean(axis=0), stages, causal, exclusive, cut)


def fitted():
    centre = FEATURES.mean(axis=0)
    return {
        "linear, exclusive": Probe(1.0).fit(FEATURES, CLASSES, 3)[0],
        "linear, centred": Probe(1.0, centre).fit(FEATURES, CLASSES, 3)[0],
        "linear, several": Probe(1.0).fit_with_thresholds(FEATURES, PRESENT, 3)[0],
        "neighbours, exclusive": fit_neighbours(FEATURES, CLASSES, 3, centre, (1, 5)),
        "neighbours, several": fit_neighbours(FEATURES, PRESENT, 3, centre, (3,)),
        "attention, exclusive": attention(),
        "attention of one, exclusive": attention(1, 6),
        "topk, exclusive": TopKHead(Probe(1.0).fit(FEATURES, CLASSES, 3)[0], 0.25),
        "topk, several": TopKHead(Probe(1.0).fit_with_thresholds(FEATURES, PRESENT, 3)[0], 0.25),
        "mstcn, exclusive": staged(causal=True),
        "mstcn of both sides, exclusive": staged(causal=False),
        "mstcn, several": staged(causal=True, exclusive=False),
        "mean, exclusive": MeanHead(Probe(1.0, centre).fit(FEATURES, CLASSES, 3)[0]),
        "layer, exclusive": of_part(LinearHead, CLASSES),
        "layer, several": of_part(LinearHead, PRESENT),
        "mean of a layer, exclusive": of_part(MeanHead, CLASSES),
    }


def task_of(name):
    if name.startswith(("mean", "attention", "topk")):
        return SEVERAL_OF_SOURCE if name.endswith("several") else OF_SOURCE
    return ONE if name.endswith(("exclusive", "centred")) else SEVERAL


@pytest.mark.parametrize("name", fitted())
def test_it_keeps_its_contract(name):
    check_head(fitted()[name], task_of(name), RNG.normal(size=(7, 6)).astype(np.float32))


def test_one_with_a_transformer_keeps_it():
    head = transformed()
    check_head(head, OF_SOURCE, RNG.normal(size=(7, 8)).astype(np.float32))
    for name in ("blocks.1.norm2.bias", "blocks.0.linear1.bias"):
        fewer = {key: one for key, one in head.tensors().items() if key != name}
        with pytest.raises(ValueError, match="tensors"):
            AttentionHead.of(fewer, OF_SOURCE, 8, None)


def test_those_from_outside_keep_it():
    linear, toys = fitted()["linear, exclusive"], importlib.import_module("toy_heads")
    rows = RNG.normal(size=(7, 6)).astype(np.float32)
    check_head(toys.MostHead(linear), OF_SOURCE, rows)
    check_head(toys.PastHead(linear), ONE, rows)


def test_an_ordered_head_that_looks_into_other_sources_is_found():
    @dataclass(frozen=True)
    class Beyond(importlib.import_module("toy_heads").PastHead):
        def probabilities(self, bags):
            return super().probabilities(Bags.of_one(bags.features))

    with pytest.raises(AssertionError, match="depend on other bags"):
        check_head(Beyond(fitted()["linear, exclusive"]), ONE, FEATURES)


def test_every_kind_is_checked():
    assert {head.kind for head in fitted().values()} | {"most", "past"} == set(HEADS.names())


@pytest.mark.parametrize(
    ("name", "values"),
    [("truth", np.full((30, 3), 2)), ("neighbours", np.array(0)), ("truth", np.zeros((30, 3)))],
)
def test_neighbours_refuse_numbers_that_no_such_head_has(name, values):
    head = fitted()["neighbours, exclusive"]
    with pytest.raises(ValueError, match=name):
        type(head).of({**head.tensors(), name: values}, ONE, 6, None)


@pytest.mark.parametrize("share", [0, 1.5])
def test_a_share_that_is_no_part_is_refused(share):
    head = fitted()["topk, exclusive"]
    with pytest.raises(ValueError, match="is no part of samples"):
        type(head).of(
            {**head.tensors(), "share": np.array([share], np.float32)}, OF_SOURCE, 6, None
        )


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ({"start": np.array(-1)}, "no part of 6 features"),
        ({"stop": np.array(7)}, "no part of 6 features"),
        ({"start": np.array(5)}, "no part of 6 features"),
        ({"start": np.array(1)}, "tensors"),
        ({"stop": np.array(4.5, np.float32)}, "whole numbers"),
        ({"start": np.array([2])}, "whole numbers"),
    ],
)
def test_places_that_are_no_part_of_a_row_are_refused(ends, said):
    tensors = {**fitted()["layer, exclusive"].tensors(), **ends}
    with pytest.raises(ValueError, match=said):
        LayerHead.of(tensors, ONE, 6, None)


def test_a_head_of_a_layer_sees_nothing_else_of_a_row():
    head, others = fitted()["layer, exclusive"], FEATURES.copy()
    others[:, [0, 1, 5]] = 9
    one, other = (head.probabilities(Bags.of_samples(rows)) for rows in (FEATURES, others))
    assert np.array_equal(one, other)


def test_planted_faults_are_found():
    @dataclass(frozen=True)
    class Forgetful(LinearHead):
        def tensors(self):
            return {"weight": self.weight, "bias": np.zeros_like(self.bias)}

    @dataclass(frozen=True)
    class Together(LinearHead):
        def probabilities(self, bags):
            rows = bags.features + np.float32(len(bags)) * bags.features[:1]
            return super().probabilities(Bags.of_samples(rows))

    head = fitted()["linear, exclusive"]
    biased = replace(head, bias=head.bias + np.float32([0, 1, 2]))
    for kind, said in ((Forgetful, "do not hold all"), (Together, "depend on other bags")):
        wrong = kind(biased.weight, biased.bias)
        with pytest.raises(AssertionError, match=said):
            check_head(wrong, ONE, FEATURES)
