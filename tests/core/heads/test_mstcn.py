"""Heads over ordered samples: their formulas as loops, and what they do not see."""

from itertools import islice

import numpy as np
import pytest
import torch

from histoscope.core.contracts import Task
from histoscope.core.heads.contract import Bags
from histoscope.core.heads.dilated import logits_of
from histoscope.core.heads.mstcn import StagesHead, scaled
from tests.core.dilated_stages import BOTH, DIM, head_of, reach, rows_of, stage_by_hand, stages


@BOTH
def test_stages_compute_their_formula(causal):
    weights, _ = stages()
    exact = {name: one.detach().double() for name, one in weights.items()}
    rows = rows_of(20).astype(np.float64)
    found = logits_of(torch.from_numpy(rows), exact, causal)
    assert len(found) == 2
    seen = rows.tolist()
    for stage, told in enumerate(found):
        own = {n.split(".", 2)[2]: one for n, one in exact.items() if n.split(".")[1] == str(stage)}
        wanted = np.array(stage_by_hand(seen, own, causal))
        assert np.allclose(told.numpy(), wanted, atol=1e-12)
        powers = np.exp(wanted)
        seen = (powers / powers.sum(axis=1, keepdims=True)).tolist()


def test_a_layer_is_a_dilated_convolution_as_torch_has_it():
    weights, _ = stages(stages=1, layers=3)
    own = {name.removeprefix("stages.0."): one.detach() for name, one in weights.items()}
    seen = rows_of(30) @ own["in.weight"].numpy().T + own["in.bias"].numpy()
    seen = torch.from_numpy(seen).T[None]
    for layer in range(3):
        kernel = own["wide.weight"][layer].reshape(5, 3, 5).transpose(1, 2)
        wide = torch.nn.functional.conv1d(
            seen, kernel, own["wide.bias"][layer], padding=2**layer, dilation=2**layer
        )
        narrow = own["narrow.weight"][layer][..., None], own["narrow.bias"][layer]
        seen = seen + torch.nn.functional.conv1d(wide.relu(), *narrow)
    wanted = seen[0].T @ own["out.weight"].T + own["out.bias"]
    found = logits_of(torch.from_numpy(rows_of(30)), weights, causal=False)[-1]
    assert torch.allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("at", [0, 7, 59])
def test_no_answer_of_a_causal_head_knows_what_comes_after_it(at):
    head, rows = head_of(True, layers=9, maps=16), rows_of(60)
    later = rows.copy()
    later[at + 1 :] = 50 * rows_of(59 - at, 1)
    found, other = (head.probabilities(Bags.of_one(one)) for one in (rows, later))
    assert np.array_equal(found[: at + 1], other[: at + 1])
    assert at == 59 or not np.array_equal(found, other)
    alone = head.probabilities(Bags.of_one(rows[: at + 1]))
    assert np.allclose(alone, found[: at + 1], atol=1e-6)


@BOTH
@pytest.mark.parametrize("count", [1, 2])
def test_a_sample_is_seen_as_far_as_the_layers_reach_and_no_further(causal, count):
    head, rows, at = head_of(causal, stages=count, layers=2, maps=16), rows_of(61), 30
    before, after = reach(count, 2, causal)
    other = rows.copy()
    other[at] += 3
    found, moved = (head.logits(one) for one in (rows, other))
    changed = np.flatnonzero((found != moved).any(axis=1))
    assert (changed.min(), changed.max()) == (at - after, at + before)


def test_features_have_a_centre_and_one_length():
    found = scaled(np.array([[3.0, 4, 0, 0], [1, 1, 1, 1]], np.float32), np.ones(4, np.float32))
    assert (found[0] ** 2).mean() == pytest.approx(1)
    assert found[1].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"causal": np.array(2)}, "0 or 1"),
        ({"causal": np.array(1, np.float32)}, "0 or 1"),
        ({"causal": None}, "tensors"),
        ({"centre": np.zeros(3, np.float32)}, "tensors"),
        ({"stages.1.in.weight": np.zeros((5, DIM), np.float32)}, "tensors"),
        ({"stages.0.wide.bias": np.zeros(5, np.float32)}, "tensors"),
        ({"stages.1.out.bias": None}, "tensors"),
        ({"stages.0.in.bias": np.zeros(5, np.int64)}, "of floats"),
    ],
)
def test_tensors_of_no_such_head_are_refused(wrong, said):
    task, kept = Task("made", ("a", "b", "c")), head_of(True).tensors() | wrong
    kept = {name: values for name, values in kept.items() if values is not None}
    with pytest.raises(ValueError, match=said):
        StagesHead.of(kept, task, DIM, None)


def test_no_stage_is_refused():
    kept = dict(islice(head_of(True).tensors().items(), 2))
    with pytest.raises(ValueError, match="one stage or more"):
        StagesHead.of(kept, Task("made", ("a", "b", "c")), DIM, None)
