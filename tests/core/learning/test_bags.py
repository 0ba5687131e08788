"""How heads of sources are trained: what each step sees, and its loss."""

import numpy as np
import pytest
import torch

from histoscope.core.config import build
from histoscope.core.errors import ConfigError
from histoscope.core.heads.contract import Bags
from histoscope.core.learning.bags import loss_of, order_of, some_rows, standardised
from histoscope.core.learning.spec import BagStepsSpec, FinetuneSpec
from tests.core.learning.rare_sources import DIM, ROWS, made


def test_each_class_comes_as_often_and_every_source_of_it_in_turn():
    labels = np.array([0, 0, 0, 1, 0, 1])
    order = order_of(labels, 24, 0)
    assert len(order) == 24
    assert np.bincount(labels[order]).tolist() == [12, 12]
    assert np.bincount(order, minlength=6).tolist() == [3, 3, 3, 6, 3, 6]


@pytest.mark.parametrize("told", [{"samples": 40}, {"samples": 512, "part": 0.2667}])
def test_of_a_large_source_some_are_drawn_anew(told):
    bags, _, _ = made(2, 6)
    spec = BagStepsSpec(**told)
    first, second = (some_rows(bags, 1, spec, 0, number) for number in (0, 1))
    assert first.shape == (40, DIM)
    assert len(np.unique(first, axis=0)) == 40
    assert not np.array_equal(first, second)


def test_a_small_source_is_read_whole_and_never_not_at_all():
    bags, _, _ = made(2, 6)
    rows = bags.features[ROWS:]
    assert np.array_equal(some_rows(bags, 1, BagStepsSpec(), 0, 0), rows)
    one = Bags(rows[:1], np.array([0, 1]))
    assert np.array_equal(some_rows(one, 0, BagStepsSpec(part=0.1), 0, 0), rows[:1])


def test_the_loss_of_several_classes_is_over_those_that_are_known():
    logits, truth = torch.tensor([[0.5, -1.0, 2.0]]), torch.tensor([[1, -1, 0]])
    wanted = (np.log1p(np.exp(-0.5)) + np.log1p(np.exp(2.0))) / 2
    assert loss_of(logits, truth).item() == pytest.approx(wanted, abs=1e-6)
    assert loss_of(logits, torch.full((1, 3), -1)).item() == 0


def test_features_are_scaled_by_all_samples_and_what_does_not_vary_stays():
    rng = np.random.default_rng(0)
    rows = (rng.normal(3, 5, (50, 4)) * [1, 10, 0, 1]).astype(np.float32)
    scaled, centre, spread = standardised(Bags(rows, np.array([0, 40, 50])))
    assert np.allclose(scaled.features.mean(axis=0), 0, atol=1e-5)
    assert np.allclose(scaled.features.std(axis=0), [1, 1, 0, 1], atol=1e-5)
    assert np.allclose(scaled.features * spread + centre, rows, atol=1e-4)


def test_a_step_sees_1024_samples_at_most():
    with pytest.raises(ConfigError, match=r"attention\.samples: .* less than or equal to 1024"):
        build(FinetuneSpec, {"method": "attention", "attention": {"samples": 1025}}, "a")
