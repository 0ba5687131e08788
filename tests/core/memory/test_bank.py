"""A bank of all images' features: what it holds is what a bank that is made anew would hold."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from histoscope.core.memory.bank import LabelledBank


def rows_of(count, seed):
    rng = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(count, 4, dtype=torch.float64, generator=rng), dim=1)


def filled(samples=40, clusters=5):
    bank = LabelledBank(samples, 4, clusters).double()
    bank.fill(rows_of(samples, 0) * 3)
    bank.cluster(seed=0, epoch=0)
    return bank


def by_loops(features, labels, clusters):
    """Sums and counts of groups."""
    sums, counts = [[0.0] * 4 for _ in range(clusters)], [0] * clusters
    for row, label in zip(features.tolist(), labels.tolist(), strict=True):
        sums[label] = [a + b for a, b in zip(sums[label], row, strict=True)]
        counts[label] += 1
    return sums, counts


def test_sums_follow_the_rows():
    bank = filled()
    labels = bank.labels.clone()
    for step in range(12):
        index = torch.randint(0, 40, (8,), generator=torch.Generator().manual_seed(step))
        bank.put(rows_of(8, step + 1), index)
        if step % 3 == 2:
            bank.move_centres()
    assert not torch.equal(bank.labels, labels)
    sums, counts = by_loops(bank.features, bank.labels, 5)
    assert (bank.sums - torch.tensor(sums, dtype=torch.float64)).abs().max() <= 1e-12
    assert bank.counts.tolist() == counts


def test_an_image_gets_the_label_of_the_nearest_centre():
    bank, rows = filled(), rows_of(3, 7)
    bank.put(rows, torch.tensor([4, 30, 11]))
    for row, place in zip(rows, (4, 30, 11), strict=True):
        near = [(row @ centre).item() for centre in bank.centres]
        assert near[bank.labels[place]] == max(near)
        assert torch.equal(bank.features[place], row)


def test_of_an_image_that_comes_twice_the_last_row_stays_and_counts_once():
    bank, rows = filled(), rows_of(4, 7)
    bank.put(rows, torch.tensor([3, 9, 3, 3]))
    assert torch.equal(bank.features[3], rows[3])
    assert bank.counts.sum() == 40


def test_centres_move_to_the_mean_and_stay_where_nobody_is():
    bank = filled()
    corner = bank.centres[2].clone()
    gone = (bank.labels == 2).nonzero()[:, 0]
    towards = bank.centres[0] if bank.counts[0] else bank.centres[1]
    bank.put(towards.expand(len(gone), -1), gone)
    assert bank.counts[2] == 0
    bank.move_centres()
    assert torch.equal(bank.centres[2], corner)
    mean = bank.features[bank.labels == 0].mean(0)
    expected = (mean / mean.norm()).tolist()
    assert bank.centres[0].tolist() == pytest.approx(expected, rel=1e-12)
