"""IFND: what is of one group of the data set's features is no negative."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from histoscope.core.config import build
from histoscope.core.errors import ConfigError, UsageError
from histoscope.core.objectives.contract import Clock
from histoscope.core.objectives.spec import MethodSpec
from histoscope.core.testing.objectives import BATCH, SAMPLES, STEPS, Rehearsal

NARROW = {"projector": {"hidden": 8, "out": 4}}
SETTINGS = {
    "simclr": NARROW,
    "moco_v2": {**NARROW, "momentum": {"rows": 48, "groups": 1}},
}
FEW = {"kind": "ifnd", "clusters": [2, 5]}


def ready_of(base, steps=5, **more):
    """After an epoch and a step."""
    ready = Rehearsal(base, {"temperature": 0.2, **SETTINGS[base], **more})
    for number in range(steps):
        ready.step(number)
    return ready


def accepted_labels(groups, size, count):
    """By sorting: the label of each image that is among the surest."""
    sure = groups.confidence[size].tolist()
    order = sorted(range(len(sure)), key=lambda place: -sure[place])
    return {place: groups.labels[size, place].item() for place in order[:count]}


def rows_and_columns(base, objective, projected, rows):
    """Of each row: its vector, the other view, whose it is; of each column its vector and whose."""
    index = rows.index.tolist()
    if base == "simclr":
        views = [normalize(projected.asks[f"view {n}"].detach()[:, 0], dim=1) for n in (0, 1)]
        asked = [
            (views[n][i], views[1 - n][i], index[i]) for n in (0, 1) for i in range(len(index))
        ]
        return asked, [(views[n][i], index[i]) for n in (0, 1) for i in range(len(index))]
    asked = [
        (
            normalize(projected.asks[f"queries {n}"].detach()[i, 0], dim=0),
            projected.answers[f"keys {n}"][i, 0],
            index[i],
        )
        for n in (0, 1)
        for i in range(len(index))
    ]
    queue = zip(objective.queue.features, objective.queue.index.tolist(), strict=True)
    return asked, [(row, whose) for row, whose in queue if whose >= 0]


def by_loops(base, objective, projected, rows, accepted):
    """Mean over sizes of groups and rows of InfoNCE without what has a row's accepted label."""
    asked, columns = rows_and_columns(base, objective, projected, rows)
    groups, total, false = objective.grouped.groups, 0.0, 0
    for size in range(len(groups.labels)):
        labels = accepted_labels(groups, size, accepted)
        for one, other, mine in asked:
            top = math.exp((one @ other).item() / 0.2)
            below = top
            for column, whose in columns:
                same = mine in labels and labels.get(whose) == labels[mine]
                false += same and whose != mine
                if whose != mine and not same:
                    below += math.exp((one @ column).item() / 0.2)
            total -= math.log(top / below)
    count = len(groups.labels) * len(asked)
    return total / count, false / count


@pytest.mark.parametrize("base", ["simclr", "moco_v2"])
@pytest.mark.parametrize("acceptance", [1.0, 0.5])
def test_it_is_its_formula(base, acceptance):
    ready = ready_of(base, negatives={**FEW, "acceptance": acceptance})
    projected, rows, draws, clock = ready.begin(5)
    report = ready.objective.loss(projected, rows, draws, clock)
    accepted = int(acceptance * 5 / STEPS * SAMPLES)
    expected, false = by_loops(base, ready.objective, projected, rows, accepted)
    assert false > 0
    assert report.loss.item() == pytest.approx(expected, rel=1e-12)
    if base == "simclr":  # of moco_v2 the last direction is shown
        assert report.shown["false_negatives"].mean().item() == pytest.approx(false, rel=1e-12)


def test_with_one_group_nothing_repels_where_all_are_accepted():
    ready = ready_of("simclr", negatives={"kind": "ifnd", "clusters": [1]})
    projected, rows, draws, _ = ready.begin(5)
    whole = ready.objective.loss(projected, rows, draws, Clock(STEPS, STEPS, 1))
    assert whole.loss.item() == 0


def test_groups_are_made_every_so_many_epochs_and_are_of_the_slow_copy():
    ready = ready_of("moco_v2", steps=0, negatives={**FEW, "every": 2})
    seen = []

    class Corpus:
        def encode(self, module):
            seen.append(module)
            return torch.randn(SAMPLES, 4, generator=torch.Generator().manual_seed(len(seen)))

    found = []
    for epoch in range(4):
        ready.objective.begin_epoch(Corpus(), Clock(epoch, 4, epoch))
        found.append(ready.objective.grouped.groups.labels.clone())
    assert seen == [ready.objective.slow[0]] * 2
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[1], found[2])


def test_what_is_matched_of_a_false_negative_does_not_repel_either():
    """Views that are opposed by another image's subject (``swap``)."""
    told = {**NARROW, "negatives": {"kind": "ifnd", "clusters": [1]}}
    ready = Rehearsal("simclr", told, matched=True)
    projected, rows, draws, _ = ready.begin(0)
    at_end = Clock(STEPS, STEPS, 1)
    assert ready.objective.loss(projected, rows, draws, at_end).loss.item() == 0
    early = ready.objective.loss(projected, rows, draws, Clock(0, STEPS, 0)).loss.item()
    assert early > math.log(2 * BATCH - 2) / 2


def test_more_groups_than_samples_are_refused():
    with pytest.raises(UsageError, match=f"negatives.clusters: 5000 groups of {SAMPLES} samples"):
        Rehearsal("simclr", {"negatives": {"kind": "ifnd", "clusters": [8, 5000]}})


@pytest.mark.parametrize("clusters", [[], [0], [4, -1]])
def test_a_size_without_groups_is_refused(clusters):
    with pytest.raises(ConfigError, match=r"negatives.*clusters"):
        build(MethodSpec, {"negatives": {"kind": "ifnd", "clusters": clusters}}, "objective")
