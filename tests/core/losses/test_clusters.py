"""Sinkhorn's codes and their prediction against loops and lightly."""

import math

import pytest
import torch

from histoscope.core.losses.clusters import predicted, sinkhorn


def scores_of(rows=6, prototypes=4, dtype=torch.float64):
    rng = torch.Generator().manual_seed(2)
    return 2 * torch.rand(rows, prototypes, generator=rng, dtype=dtype) - 1


def by_loops(scores, epsilon, rounds):
    """Caron et al. 2020, appendix A, as its code has it: the whole sums to 1, then each in turn."""
    q = [[math.exp(s / epsilon) for s in row] for row in scores.tolist()]
    rows, prototypes = len(q), len(q[0])
    whole = sum(map(sum, q))
    q = [[x / whole for x in row] for row in q]
    for _ in range(rounds):
        for p in range(prototypes):
            column = sum(row[p] for row in q)
            for row in q:
                row[p] /= column * prototypes
        q = [[x / (sum(row) * rows) for x in row] for row in q]
    return [[x * rows for x in row] for row in q]


@pytest.mark.parametrize("rounds", [1, 3])
def test_codes_are_their_formula(rounds):
    scores = scores_of()
    found = sinkhorn(scores, 0.5, rounds)
    assert found == pytest.approx(
        torch.tensor(by_loops(scores, 0.5, rounds), dtype=torch.float64), rel=1e-12
    )
    assert found.sum(1) == pytest.approx(torch.ones(6).double(), rel=1e-12)


def test_codes_equal_those_of_lightly():
    from lightly.loss.swav_loss import sinkhorn as theirs

    scores = scores_of(64, 16, torch.float32)
    assert sinkhorn(scores, 0.05) == pytest.approx(theirs(scores), abs=1e-6)


def test_after_many_rounds_prototypes_are_used_alike():
    found = sinkhorn(scores_of(12, 4), 0.2, 200)
    assert found.sum(0) == pytest.approx(torch.full((4,), 3.0).double(), rel=1e-9)


def test_sharp_codes_of_half_scores_do_not_overflow():
    found = sinkhorn(scores_of(64, 16, torch.float32).to(torch.bfloat16), 0.01)
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()


def test_the_prediction_is_a_cross_entropy():
    codes, scores = sinkhorn(scores_of(), 0.3), scores_of(6, 4).flip(0)
    found = predicted(codes, scores, 0.1)
    for row in range(6):
        logits = [s / 0.1 for s in scores[row].tolist()]
        below = math.log(sum(math.exp(x) for x in logits))
        expected = -sum(q * (x - below) for q, x in zip(codes[row].tolist(), logits, strict=True))
        assert found[row].item() == pytest.approx(expected, rel=1e-12)
