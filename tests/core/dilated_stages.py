"""Stages of dilated convolutions for tests: small ones, new; and their formula as loops."""

from itertools import chain

import numpy as np
import pytest

from histoscope.core.heads.mstcn import StagesHead
from histoscope.core.learning.mstcn import new_stages
from histoscope.core.learning.spec import StagesStepsSpec

CLASSES, DIM = 3, 4
BOTH = pytest.mark.parametrize("causal", [True, False])


def stages(seed=0, **told):
    """New tensors of two stages of three layers, as a step would move them."""
    told = StagesStepsSpec(**{"layers": 3, "maps": 5, **told})
    return new_stages(DIM, CLASSES, told, seed), told


def head_of(causal, **told):
    kept = {name: one.detach().numpy() for name, one in stages(**told)[0].items()}
    return StagesHead(np.zeros(DIM, np.float32), kept, causal)


def rows_of(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)


def reach(stages, layers, causal):
    """How many samples before and after its own an answer reads."""
    both = stages * 2 * (2**layers - 1)
    return (both, 0) if causal else (both // 2, both // 2)


def stage_by_hand(rows, own, causal):
    """Logits of one stage, number by number."""
    count, maps = len(rows), len(own["in.bias"])

    def one_by_one(row, weight, bias):
        return [
            sum(w * x for w, x in zip(line, row, strict=True)) + b
            for line, b in zip(weight.tolist(), bias.tolist(), strict=True)
        ]

    seen = [one_by_one(row, own["in.weight"], own["in.bias"]) for row in rows]
    for layer in range(len(own["wide.bias"])):
        step = 2**layer
        taps = (-2 * step, -step, 0) if causal else (-step, 0, step)
        out = []
        for at in range(count):
            three = [seen[at + tap] if 0 <= at + tap < count else [0.0] * maps for tap in taps]
            wide = one_by_one([*chain(*three)], own["wide.weight"][layer], own["wide.bias"][layer])
            wide = [max(0.0, value) for value in wide]
            more = one_by_one(wide, own["narrow.weight"][layer], own["narrow.bias"][layer])
            out.append([a + b for a, b in zip(seen[at], more, strict=True)])
        seen = out
    return [one_by_one(row, own["out.weight"], own["out.bias"]) for row in seen]
