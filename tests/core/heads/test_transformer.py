"""A transformer from its tensors: its formula as loops, whatever is done at once."""

import numpy as np
import pytest

from histoscope.core.heads import transformer
from histoscope.core.heads.transformer import encoded, shapes_of

DIM, UNITS = 16, 12


def tensors_of(blocks, dim=DIM, seed=0):
    """Weights of so many blocks."""
    rng = np.random.default_rng(seed)
    told = {"blocks.0.linear1.bias": np.zeros(UNITS, np.float32)}
    told |= {f"blocks.{block}.norm2.bias": np.zeros(dim, np.float32) for block in range(blocks)}
    shapes = shapes_of(told, dim)
    return {name: rng.normal(0, 0.3, size).astype(np.float32) for name, size in shapes.items()}


def normal(row, weight, bias):
    return (row - row.mean()) / np.sqrt(row.var() + 1e-5) * weight + bias


def by_hand(rows, kept):
    """One block, a row and a head at a time, in float64."""
    dim, part = rows.shape[1], rows.shape[1] // 8
    three = rows @ kept["self_attn.in_proj_weight"].T + kept["self_attn.in_proj_bias"]
    out = []
    for place, row in enumerate(rows):
        found = []
        for head in range(8):
            asks, keys, values = (
                three[:, at * dim + head * part : at * dim + (head + 1) * part] for at in range(3)
            )
            scores = np.array([asks[place] @ key / np.sqrt(part) for key in keys])
            powers = np.exp(scores - scores.max())
            found += (powers @ values / powers.sum()).tolist()
        added = row + kept["self_attn.out_proj.weight"] @ found + kept["self_attn.out_proj.bias"]
        once = normal(added, kept["norm1.weight"], kept["norm1.bias"])
        hidden = np.maximum(kept["linear1.weight"] @ once + kept["linear1.bias"], 0)
        added = once + kept["linear2.weight"] @ hidden + kept["linear2.bias"]
        out.append(normal(added, kept["norm2.weight"], kept["norm2.bias"]))
    return np.array(out)


@pytest.mark.parametrize("at_once", [1, 5, 512])
def test_it_computes_its_formula_however_many_ask_at_once(monkeypatch, at_once):
    monkeypatch.setattr(transformer, "AT_ONCE", at_once)
    kept, rows = tensors_of(2), np.random.default_rng(1).normal(size=(11, DIM))
    wanted = rows
    for block in range(2):
        own = f"blocks.{block}."
        parts = {name.removeprefix(own): one for name, one in kept.items() if own in name}
        wanted = by_hand(wanted, {name: one.astype(np.float64) for name, one in parts.items()})
    assert np.allclose(encoded(rows.astype(np.float32), kept), wanted, atol=1e-5)


def test_blocks_keep_their_order_beyond_the_tenth():
    kept = tensors_of(11)
    rows = np.random.default_rng(1).normal(size=(3, DIM)).astype(np.float32)
    assert np.array_equal(encoded(rows, kept), encoded(rows, dict(sorted(kept.items()))))


def test_a_width_that_cannot_be_shared_out_is_no_head():
    with pytest.raises(ValueError, match="12 features are not divisible by 8"):
        tensors_of(1, dim=12)
