"""Groups of rows: k-means as loops, and what groups are for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from histoscope.core.memory import clustering
from histoscope.core.memory.clustering import kmeans, nearest
from histoscope.core.memory.labels import PseudoLabels
from histoscope.core.randomness import generator


def rows_of(count, dim=4, seed=0):
    drawn = torch.randn(
        count, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    return normalize(drawn, dim=1)


def dot(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True))


def by_loops(rows, count, rng):
    """Dhillon and Modha 2001: each row to the nearest centre, each centre to its rows' mean."""
    drawn = rng.permutation(len(rows))
    rows = [rows[place].tolist() for place in drawn]
    centres = [list(row) for row in rows[:count]]
    for _ in range(clustering.ROUNDS):
        mine = [
            max(
                range(count), key=lambda c: sum(a * b for a, b in zip(row, centres[c], strict=True))
            )
            for row in rows
        ]
        for group in range(count):
            held = [row for row, label in zip(rows, mine, strict=True) if label == group]
            if held:
                mean = [sum(column) for column in zip(*held, strict=True)]
                length = math.sqrt(sum(x * x for x in mean))
                centres[group] = [x / length for x in mean]
    return centres


@pytest.mark.parametrize("at_once", [clustering.AT_ONCE, 20])
def test_centres_are_those_of_loops(monkeypatch, at_once):
    monkeypatch.setattr(clustering, "AT_ONCE", at_once)
    rows = rows_of(60)
    found = kmeans(rows, 5, generator(0, "test"))
    expected = torch.tensor(by_loops(rows, 5, generator(0, "test")), dtype=torch.float64)
    assert (found - expected).abs().max() <= 1e-12


def test_the_group_of_a_row_and_how_sure_it_is():
    rows, centres = rows_of(30), rows_of(4, seed=1)
    labels, shares = nearest(rows, centres, 0.1)
    for row, label, share in zip(rows, labels.tolist(), shares.tolist(), strict=True):
        parts = [math.exp((row @ centre).item() / 0.1) for centre in centres]
        assert parts[label] == max(parts)
        assert share == pytest.approx(max(parts) / sum(parts), rel=1e-12)


def test_of_many_rows_some_are_drawn(monkeypatch):
    monkeypatch.setattr(clustering, "FITTED", 4)
    rows = rows_of(400)
    rng = generator(0, "test").permutation(400)
    chosen = rows[rng[:8]]
    found = kmeans(rows, 2, generator(0, "test"))
    mine = (chosen @ found.T).argmax(1)
    for group in range(2):
        mean = normalize(chosen[mine == group].sum(0), dim=0)
        assert (found[group] - mean).abs().max() <= 1e-12


def test_a_group_that_nobody_is_in_keeps_its_centre():
    rows = torch.eye(2, dtype=torch.float64)[[0] * 6]
    centres = kmeans(rows, 3, generator(0, "test"))
    assert torch.equal(centres, rows[:3])


def test_planted_groups_are_found_and_the_surest_are_accepted_first():
    corners = normalize(torch.eye(3) + 0.1, dim=1)
    truth = np.arange(90) % 3
    noise = 0.3 * torch.randn(90, 3, generator=torch.Generator().manual_seed(0))
    known = PseudoLabels(90, [3, 9])
    assert (known.of(torch.arange(90), 90) == -1).all()
    known.cluster(corners[truth] + noise, 0.1, seed=0, epoch=0)
    coarse = known.of(torch.arange(90), 90)[0].numpy()
    assert len({(a, b) for a, b in zip(truth, coarse, strict=True)}) == 3
    some = known.of(torch.arange(90), 30) >= 0
    assert some.sum(1).tolist() == [30, 30]
    for size in range(2):
        sure = known.confidence[size]
        assert sure[some[size]].min() >= sure[~some[size]].max()


def test_another_epoch_draws_other_groups():
    found = []
    for epoch in (0, 1):
        known = PseudoLabels(90, [9])
        known.cluster(rows_of(90), 0.1, seed=0, epoch=epoch)
        found.append(known.labels)
    assert not torch.equal(*found)
