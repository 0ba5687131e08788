"""CMSF: half of MSF, and half of it with the neighbours that a constraint leaves."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from histoscope.core.config import build
from histoscope.core.errors import ConfigError, UsageError
from histoscope.core.objectives.contract import Clock
from histoscope.core.objectives.spec import MethodSpec
from histoscope.core.testing.objectives import BATCH, SAMPLES, Rehearsal, check_objective

NARROW = {"projector": {"hidden": 16, "out": 8}}
HELD = {"rows": 40, "count": 4, "alone": 0.0}
KMEANS = {"kind": "kmeans", "clusters": 5}
EARLIER = {"kind": "second_bank", "nearest": 9}


def ready_of(constraint, steps=5, **held):
    """After an epoch and a step, when some images were seen again."""
    told = {**NARROW, "neighbours": {**HELD, **held}, "constraint": constraint}
    ready = Rehearsal("cmsf", told)
    for number in range(steps):
        ready.step(number)
    return ready


def cosine(a, b):
    a, b = a.tolist(), b.tolist()
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(x * x for x in b))


def mean_of_nearest(asked, target, columns, row, free, count):
    """Koohpayegani et al. 2021, eq. 1, among the columns that are free."""
    order = sorted(free, key=lambda at: -cosine(target[row], columns[at]))
    nearest = [row, *order[: count - 1]]
    return sum(2 - 2 * cosine(asked[row], columns[at]) for at in nearest) / len(nearest)


def of_one_group(objective, rows, whose, row, free):
    labels, mine = objective.labels.tolist(), objective.labels[rows.index[row]].item()
    if mine < 0:
        return free
    return [at for at in free if labels[whose[at]] in (mine, -1)]


def of_neighbours_before(objective, rows, whose, row, free):
    """By what was said of the images of this step, and of those remembered, before."""
    last, past = objective.last, objective.past
    before = {
        at: last.features[index]
        for at, index in enumerate(rows.index.tolist())
        if last.visits[index] > 0
    }
    before |= {
        BATCH + at: row
        for at, (row, index) in enumerate(zip(past.features, past.index.tolist(), strict=True))
        if index >= 0
    }
    if row not in before:
        return []
    known = [at for at in free if at in before]
    known.sort(key=lambda at: -(before[row] @ before[at]).item())
    return known[: objective.constraint.nearest - 1]


def by_loops(objective, projected, rows, count, constrained):
    """Half of each; and neighbours of the constrained half, on average."""
    asked = projected.asks["asked"][:, 0].detach()
    target, memory = projected.answers["target"][:, 0], objective.memory
    columns = [*target, *memory.features]
    whose = [*rows.index.tolist(), *memory.index.tolist()]
    total, held = 0.0, 0
    for row in range(BATCH):
        own = int(rows.index[row])
        free = [at for at in range(len(columns)) if whose[at] not in (-1, own)]
        left = constrained(objective, rows, whose, row, free)
        held += min(count, 1 + len(left))
        total += 0.5 * mean_of_nearest(asked, target, columns, row, free, count)
        total += 0.5 * mean_of_nearest(asked, target, columns, row, left, count)
    return total / BATCH, held / BATCH


@pytest.mark.parametrize(
    ("constraint", "constrained"), [(KMEANS, of_one_group), (EARLIER, of_neighbours_before)]
)
@pytest.mark.parametrize("count", [4, 12])
def test_it_is_its_formula(constraint, constrained, count):
    ready = ready_of(constraint, count=count)
    objective = ready.objective
    rng = torch.Generator().manual_seed(0)
    if constraint is KMEANS:
        objective.labels.copy_(torch.randint(-1, 80, (SAMPLES,), generator=rng))
    else:  # as if more images had been seen before
        some = torch.rand(SAMPLES, 8, generator=rng, dtype=torch.float64) - 0.5
        objective.last.features.copy_(normalize(some, dim=1))
        objective.last.visits.copy_(torch.rand(SAMPLES, generator=rng) < 0.8)
        objective.past.features.copy_(normalize(some[:40] + some[40:80], dim=1))
        objective.past.index[::2] = objective.memory.index[::2]
    projected, rows, draws, clock = ready.begin(5)
    report = objective.loss(projected, rows, draws, clock)
    expected, held = by_loops(objective, projected, rows, count, constrained)
    assert report.loss.item() == pytest.approx(expected, rel=1e-12)
    assert report.shown["constrained"].item() == pytest.approx(held, rel=1e-12)
    assert 1 < held < count


def trained(base, **more):
    ready = Rehearsal(base, {**NARROW, "neighbours": HELD, **more})
    losses = [ready.step(number) for number in range(7)]
    return losses, dict(ready.objective.named_parameters())


@pytest.mark.parametrize(
    "constraint",
    [{"kind": "kmeans", "clusters": 1}, {"kind": "second_bank", "nearest": 40 + BATCH}],
)
def test_one_group_or_as_many_neighbours_as_there_are_is_msf_bit_for_bit(constraint):
    losses, network = trained("cmsf", constraint=constraint)
    expected, its = trained("msf")
    assert losses == expected
    assert all(torch.equal(network[name], its[name]) for name in its)


@pytest.mark.parametrize("constraint", [{**KMEANS, "clusters": 40}, EARLIER])
def test_the_comparison_can_fail(constraint):
    assert trained("cmsf", constraint=constraint)[0] != trained("msf")[0]


@pytest.mark.parametrize("constraint", ["kmeans", "second_bank"])
def test_it_keeps_its_contract(constraint):
    check_objective("cmsf", {**NARROW, "neighbours": HELD, "constraint": constraint})


def test_before_any_group_is_known_it_is_msf_and_then_targets_are_grouped():
    ready = ready_of(KMEANS, steps=0)
    assert (ready.objective.labels == -1).all()
    for step in range(4):
        ready.step(step)
    objective = ready.objective
    assert (objective.labels == -1).all()
    objective.begin_epoch(None, Clock(4, 8, 1))
    seen = objective.last.visits > 0
    assert 16 < seen.sum() < SAMPLES
    assert (objective.labels[seen] >= 0).all()
    assert (objective.labels[~seen] == -1).all()


def test_what_was_said_before_stands_beside_what_is_remembered():
    ready = ready_of(EARLIER, steps=0)
    objective, said = ready.objective, {}
    for step in range(7):
        projected, rows, _, clock = ready.begin(step)
        objective.after_step(projected, rows, clock)
        index = rows.index.tolist()
        before = [said.get(image) for image in index]
        said |= dict(zip(index, projected.answers["target"][:, 0], strict=True))
        start = step * BATCH % 40
        for place, (image, row) in enumerate(zip(index, before, strict=True)):
            at = (start + place) % 40
            assert objective.memory.index[at] == image
            assert objective.past.index[at] == (-1 if row is None else image)
            if row is not None:
                assert torch.equal(objective.past.features[at], row)
    assert (objective.past.index >= 0).any()
    assert all(torch.equal(objective.last.features[image], row) for image, row in said.items())


def test_more_groups_than_samples_are_refused():
    with pytest.raises(UsageError, match=f"--set objective.constraint.clusters={SAMPLES}$"):
        Rehearsal("cmsf", {"constraint": {"kind": "kmeans", "clusters": 5000}})


@pytest.mark.parametrize(
    ("base", "more", "said"),
    [
        ("cmsf", {"constraint": "kmean"}, "did you mean 'kmeans'"),
        ("cmsf", {"constraint": {"kind": "kmeans", "nearest": 3}}, "nearest"),
        ("cmsf", {"negatives": "ifnd"}, "negatives"),
        ("msf", {"constraint": "kmeans"}, "constraint"),
    ],
)
def test_what_does_not_go_together_is_refused(base, more, said):
    with pytest.raises(ConfigError, match=said) as fault:
        build(MethodSpec, {"base": base, **more}, "objective")
    assert len(str(fault.value).splitlines()) == 1
